"""At full rank a factorized layer is the layer: every kind, every way to pad, to step and to spread."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress.compression.factorization.moments import measure_moments
from edgepress.compression.factorization.step import decomposition_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import rebuild
from edgepress.data import Split
from edgepress.training.evaluate import predict
from support.compress_models import inputs_for, largest_difference, made, models, randomised

layers = keras.layers

PICTURE, SERIES, VOLUME = (9, 10, 6), (11, 5), (5, 6, 4, 3)


def conv2d(**settings):
    return PICTURE, layers.Conv2D(7, settings.pop("kernel_size", 3), activation="relu", name="it", **settings)


def conv1d(**settings):
    return SERIES, layers.Conv1D(8, settings.pop("kernel_size", 3), activation="relu", name="it", **settings)


KINDS = {
    "dense": lambda: ((6,), layers.Dense(4, activation="relu", name="it")),
    "dense wider than its input": lambda: ((6,), layers.Dense(40, name="it")),
    "dense on a sequence": lambda: (SERIES, layers.Dense(5, use_bias=False, name="it")),
    "1x1": lambda: conv2d(kernel_size=1),
    "1x1 with strides": lambda: conv2d(kernel_size=1, strides=2),
    "3x3 same": lambda: conv2d(padding="same"),
    "3x3 valid": lambda: conv2d(),
    "3x3 same with strides": lambda: conv2d(padding="same", strides=2),
    "3x3 with other strides": lambda: conv2d(padding="same", strides=(1, 2)),
    "3x3 dilated": lambda: conv2d(padding="same", dilation_rate=(2, 3)),
    "4x2 same with strides": lambda: conv2d(kernel_size=(4, 2), padding="same", strides=2, use_bias=False),
    "1x5": lambda: conv2d(kernel_size=(1, 5), padding="same"),
    "series causal": lambda: conv1d(padding="causal"),
    "series causal and dilated": lambda: conv1d(padding="causal", dilation_rate=2),
    "series same with strides": lambda: conv1d(padding="same", strides=2),
    "volume": lambda: (VOLUME, layers.Conv3D(6, (2, 3, 2), strides=2, padding="same", name="it")),
}
EQUATIONS = {
    "...x,xy->...y": ((4, 6), (9,), "y"),
    "abc,cd->abd": ((4, 6), (None, 9), "d"),
    "abc,cde->abde": ((4, 6), (None, 2, 5), "de"),
    "abc,dce->abde": ((4, 6), (None, 2, 5), "e"),
    "abcd,cde->abe": ((4, 2, 6), (None, 7), None),
    "abc,cd->adb": ((4, 6), (9, None), None),
    "abc...,cd->abd...": ((4, 6, 3), (None, 9), None),
}


def tried(shape, layer):
    inputs = keras.Input(shape)
    return randomised(made(lambda: keras.Model(inputs, layer(inputs))))


def decomposed(graph, method, inputs=None):
    """The layer ``it``, by the data that are its model's input, or by its weights."""
    kind = decomposition_of(graph, "it", method)
    moments = None if inputs is None else measure_moments(graph, {"it": kind.see}, Split((inputs,), ()))["it"]
    return kind(graph, graph.calls("it")[0], moments)


def difference_at_full_rank(model, method, inputs, *, with_data):
    """Relative to the largest output, of the model with its layer ``it`` factorized."""
    graph = read(model)
    one = decomposed(graph, method, inputs if with_data else None)
    whole, factorized = predict(model, (inputs,))[0], rebuild(graph, {"it": one.layers(one.full)})
    assert len(read(factorized).layers()) > len(graph.layers())
    return np.max(np.abs(predict(factorized, (inputs,))[0] - whole)) / np.max(np.abs(whole))


def methods_for(kind):
    """Those that do not come to the same."""
    if kind.startswith(("dense", "1x1")):
        return ("svd",)
    if kind.startswith(("series", "volume", "1x5")):
        return ("svd", "tucker2", "cp")
    return ("svd", "tucker2", "spatial-svd", "cp")


@pytest.mark.parametrize(("kind", "method"), [(kind, method) for kind in KINDS for method in methods_for(kind)])
def test_full_rank_is_the_layer(kind, method):
    shape, layer = KINDS[kind]()
    inputs = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)
    model = tried(shape, layer)

    assert difference_at_full_rank(model, method, inputs, with_data=True) < 1e-4
    assert difference_at_full_rank(model, method, inputs, with_data=False) < 1e-4


@pytest.mark.parametrize("equation", EQUATIONS)
def test_full_rank_of_an_einsum_is_the_layer(equation):
    shape, output_shape, bias_axes = EQUATIONS[equation]
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, activation="relu", name="it")
    inputs = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)

    assert difference_at_full_rank(tried(shape, layer), "svd", inputs, with_data=True) < 1e-4


def test_full_rank_of_an_embedding_is_the_table():
    inputs = np.random.default_rng(1).integers(0, 50, (6, 12)).astype(np.float32)
    model = tried((12,), layers.Embedding(50, 8, mask_zero=True, name="it"))

    assert difference_at_full_rank(model, "svd", inputs, with_data=True) < 1e-4


def test_words_that_the_data_lack_stay_in_a_table_at_full_rank():
    model = tried((12,), layers.Embedding(50, 8, name="it"))
    graph = read(model)
    seen = np.full((3, 12), 7.0, np.float32)
    svd = decomposed(graph, "svd", seen)
    others = np.arange(48, dtype=np.float32).reshape(4, 12)

    factorized = rebuild(graph, {"it": svd.layers(svd.full)})

    np.testing.assert_allclose(predict(factorized, (others,))[0], predict(model, (others,))[0], atol=1e-4)


def test_channels_that_are_silent_on_the_data_stay_at_full_rank():
    shape, layer = conv2d(padding="same")
    model = tried(shape, layer)
    graph = read(model)
    silent = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)
    silent[..., 2:] = 0
    for method in ("svd", "spatial-svd", "tucker2", "cp"):
        one = decomposed(graph, method, silent)
        other = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)

        factorized = rebuild(graph, {"it": one.layers(one.full)})

        whole = predict(model, (other,))[0]
        assert np.max(np.abs(predict(factorized, (other,))[0] - whole)) < 1e-4 * np.max(np.abs(whole))


def test_a_shared_layer_is_factorized_once_for_all_its_calls():
    inputs = keras.Input((6, 6, 4))
    shared = layers.Conv2D(4, 3, padding="same", name="it")
    model = randomised(made(lambda: keras.Model(inputs, shared(shared(inputs)))))
    graph = read(model)
    data = np.random.default_rng(1).normal(size=(4, 6, 6, 4)).astype(np.float32)
    one = decomposed(graph, "tucker2", data)

    factorized = rebuild(graph, {"it": one.layers(one.full)})

    assert len(read(factorized).calls("it_core")) == 2
    assert one.whole.macs == 2 * 36 * 9 * 16
    assert one.moments.outputs.count == 2 * 4 * 36
    np.testing.assert_allclose(predict(factorized, (data,))[0], predict(model, (data,))[0], atol=1e-4)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(models(), st.sampled_from(["svd", "spatial-svd", "tucker2", "cp"]))
def test_any_model_stays_what_it_is_when_all_its_layers_are_factorized_at_full_rank(model, method):
    graph = read(model)
    kinds = {name: decomposition_of(graph, name, method) for name, layer in graph.layers().items() if layer.weights}
    kinds = {name: kind for name, kind in kinds.items() if not isinstance(kind, str)}
    moments = measure_moments(graph, {name: kind.see for name, kind in kinds.items()}, Split(inputs_for(model, 8), ()))
    decompositions = {name: kind(graph, graph.calls(name)[0], moments[name]) for name, kind in kinds.items()}

    factorized = rebuild(graph, {name: one.layers(one.full) for name, one in decompositions.items()})

    scale = max(float(np.max(np.abs(output))) for output in predict(model, inputs_for(model)))
    assert largest_difference(model, factorized) < 1e-4 * scale


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (layers.DepthwiseConv2D(3, name="it"), "no factorization for DepthwiseConv2D"),
        (layers.Conv2D(6, 3, groups=2, name="it"), "its 2 groups are a factorization already"),
        (layers.Conv2D(6, 3, lora_rank=2, name="it"), "it has other weights than Conv2D layers have"),
        (layers.Conv2DTranspose(4, 3, name="it"), "no factorization for Conv2DTranspose"),
        (layers.EinsumDense("abcd,cde->abce", (None, 6, 5), name="it"), "a matrix for each of several places"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_layers_are_left_alone_with_the_reason(layer, why):
    assert why in decomposition_of(read(tried((4, 6, 6), layer)), "it", "tucker2")
