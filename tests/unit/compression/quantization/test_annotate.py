import keras
import numpy as np
import pytest
from hypothesis import given, settings

from edgepress.compression.graph.reader import read
from edgepress.compression.quantization.annotate import annotate, fake_quants
from edgepress.compression.quantization.layers import FakeQuant
from edgepress.compression.quantization.ranges import not_rounding, set_ranges
from edgepress.conversion import convert_model
from edgepress.errors import CompressionError
from edgepress.training.cost import cost_of
from edgepress.training.evaluate import predict
from edgepress.verification.reference import run_file, to_real
from edgepress_converters.options import ConversionOptions
from support.compress_models import inputs_for, largest_difference, made, models, randomised, residual_cnn

layers = keras.layers


def annotated(outputs_of, shape=(6, 6, 4), **settings):
    inputs = keras.Input(shape, name="in")
    return annotate(randomised(keras.Model(inputs, outputs_of(inputs))), **settings)


def bounds(model):
    return {name: layer.bounds for name, layer in fake_quants(model).items()}


def test_each_tensor_between_operators_has_a_range_behind_its_activation():
    model = annotate(made(residual_cnn)).model

    assert set(fake_quants(model)) == {
        *("picture_range", "stem_range", "wide_relu_range", "depthwise_range", "project_range", "add_range"),
        *("head_range", "features_range", "classes_range", "classes_softmax_range"),
    }


def test_functions_have_the_ranges_that_tflite_prescribes():
    def outputs_of(x):
        x = layers.Conv2D(4, 3, name="a", activation="relu6")(x)
        x = layers.Conv2D(4, 1, name="b", activation="sigmoid")(x)
        x = layers.Activation("tanh", name="c")(x)
        return layers.Softmax(name="d")(x)

    assert bounds(annotated(outputs_of).model) == {
        "in_range": None,
        "a_range": (0, 6),
        "b_range": None,
        "b_sigmoid_range": (0, 255 / 256),
        "c_range": (-1, 127 / 128),
        "d_range": (0, 255 / 256),
    }


def test_what_is_joined_takes_the_range_of_the_whole_and_averages_that_of_their_source():
    def outputs_of(x):
        left = layers.Conv2D(4, 1, activation="relu", name="left")(x)
        right = layers.MaxPooling2D(1, name="max_pooling2d")(layers.Conv2D(4, 1, name="right")(x))
        joined = layers.Concatenate(name="joined")([left, right])
        return layers.Conv2D(2, 1, name="last")(layers.AveragePooling2D(2, name="mean")(joined))

    model = annotated(outputs_of).model

    assert set(fake_quants(model)) == {"in_range", "joined_range", "last_range"}
    rounded = [(call.kwargs.get("in_file", False), call.inputs[0]) for call in read(model).calls("joined_range")]
    names = [(in_file, read(model).nodes[ref.node].name) for in_file, ref in rounded]
    assert sorted(names) == [(False, "joined"), (False, "mean"), (True, "left"), (True, "max_pooling2d")]


def test_a_batchnorm_that_nothing_took_in_is_an_operator_of_its_own():
    def outputs_of(x):
        return layers.Conv2D(3, 1, name="last")(layers.BatchNormalization(name="norm")(layers.MaxPooling2D()(x)))

    model = annotated(outputs_of).model

    assert set(fake_quants(model)) == {"in_range", "norm_range", "last_range"}


def test_attention_is_taken_apart_into_operators_with_ranges():
    def outputs_of(x):
        x = layers.MultiHeadAttention(2, 3, name="heads")(layers.Dense(4, name="a")(x), x)
        return layers.Average(name="mean")([x, layers.Activation("elu", name="rough")(x)])

    found = annotated(outputs_of, shape=(5, 4))

    assert [(skip.layer, skip.why) for skip in found.left] == [("rough", "no rule for elu in int8")]
    assert bounds(found.model)["heads_softmax_range"] == (0, 255 / 256)
    assert {"heads_query_range", "heads_key_range", "heads_value_range", "heads_output_range"} < set(
        bounds(found.model)
    )


def test_layers_without_integer_kernels_and_those_to_be_left_are_named():
    def outputs_of(x):
        return layers.Conv2D(3, 1, name="last")(layers.LayerNormalization(name="norm")(x))

    found = annotated(outputs_of, left_float=frozenset({"last"}))

    assert [skip.layer for skip in found.left] == ["norm", "last"]
    assert found.allow_float == ("norm", "last", "norm_from", "last_float")
    assert type(read(found.model).layers()["last"]) is layers.Conv2D


def test_bytes_are_made_floats_before_there_is_anything_to_round():
    inputs = keras.Input((6, 6, 3), dtype="uint8", name="in")
    outputs = layers.Conv2D(2, 1, name="conv")(layers.Rescaling(1 / 255, name="bytes")(inputs))

    found = annotate(keras.Model(inputs, outputs))

    assert [skip.layer for skip in found.left] == ["bytes"]
    assert set(bounds(found.model)) == {"bytes_range", "conv_range"}


def test_a_layer_to_be_left_that_is_not_there_is_an_error():
    with pytest.raises(CompressionError, match="cannot leave nothing in float"):
        annotate(made(residual_cnn), left_float=frozenset({"nothing"}))


def test_a_saved_model_with_ranges_says_the_same_when_it_is_opened(tmp_path):
    model = annotate(randomised(made(residual_cnn))).model
    model = set_ranges(model, inputs_for(model))

    model.save(tmp_path / "model.keras")

    assert largest_difference(model, keras.models.load_model(tmp_path / "model.keras")) == 0


def test_ranges_cost_neither_parameters_nor_activation_memory():
    model = made(residual_cnn)

    before, after = cost_of(model), cost_of(annotate(model).model)

    assert after.macs == before.macs
    assert after.peak_activation_bytes == before.peak_activation_bytes
    assert after.uncounted == ()
    assert after.parameters < before.parameters  # by the BatchNormalization's


def test_a_file_of_many_structures_is_integer_throughout_and_says_what_the_keras_model_says(tmp_path, worker_pool):
    def outputs_of(x):
        a = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(x))
        a = layers.DepthwiseConv2D(3, padding="same", activation="swish")(layers.ReLU(6.0)(a))
        gate = layers.Conv2D(6, 1, activation="hard_sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(a))
        b = layers.SeparableConv2D(4, 3, padding="same", activation="gelu")(layers.Multiply()([a, gate]))
        c = layers.Concatenate()([layers.Conv2D(2, 1)(b), 4 * x, layers.MaxPooling2D(3, 1, "same")(layers.PReLU()(b))])
        c = layers.BatchNormalization()(layers.AveragePooling2D(2)(c))
        c = layers.Conv2DTranspose(4, 2, activation="leaky_relu")(c)
        rows = layers.Conv1D(4, 3, padding="causal", activation="relu")(layers.Reshape((16, 4))(c))
        rows = layers.Average()([rows, layers.MultiHeadAttention(2, 3)(rows, rows)])
        return layers.Dense(3, activation="softmax")(layers.Flatten()(rows))

    found = annotated(outputs_of)
    inputs = inputs_for(found.model, 32)
    model = set_ranges(found.model, inputs)
    options = ConversionOptions(format="int8", ranges="in-model")
    file = convert_model(model, tmp_path / "m.tflite", options, None, worker_pool)
    (answers,) = to_real(file, run_file(file, inputs, worker_pool))

    assert found.left == ()
    assert not file.float_operators
    assert np.abs(answers - predict(model, inputs)[0]).max() <= 4 * file.outputs[0].scale


@settings(max_examples=6)
@given(models())
def test_any_graph_computes_the_same_while_nothing_is_rounded(model):
    copy = annotate(model).model
    inputs = inputs_for(model)

    with not_rounding(copy, {}):
        exact = predict(copy, inputs)

    for wanted, given_ in zip(predict(model, inputs), exact, strict=True):
        np.testing.assert_allclose(given_, wanted, rtol=0, atol=1e-4 * max(1e-3, float(np.abs(wanted).max())))


def test_a_channel_of_zeros_is_rounded_to_zeros():
    conv = annotated(lambda x: layers.Conv2D(3, 1, name="conv")(x)).model.get_layer("conv")
    kernel = np.asarray(conv.kernel)
    kernel[..., 1] = 0

    rounded = np.asarray(conv.per_channel(keras.ops.convert_to_tensor(kernel)))

    assert not rounded[..., 1].any()
    assert np.abs(rounded - kernel).max() <= np.abs(kernel).max() / 254 * 1.001


def test_a_range_follows_the_batches_while_the_model_trains_and_then_stands_still():
    layer = FakeQuant()
    layer.build((None, 2))
    layer.set_range(-1.0, 1.0)

    layer(np.array([[-3.0, 5.0]], np.float32), training=False)
    assert float(layer.maximum) == 1.0
    layer(np.array([[-3.0, 5.0]], np.float32), training=True)

    assert float(layer.maximum) == pytest.approx(1.04)
    assert float(layer.minimum) == pytest.approx(-1.02)
