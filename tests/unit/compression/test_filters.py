import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.pruning.chains import find_chains
from edgepress.compression.pruning.filters import kept_count, prune_filters, remove_filters
from edgepress.compression.recipe import PruneStep
from support.compress_models import (
    blobs,
    compiled,
    context_for,
    largest_difference,
    made,
    models,
    randomised,
    residual_cnn,
)

layers = keras.layers


def masked(model, chains, keep):
    """The model as it was, with the filters that go away zeroed: weights, biases, BatchNorm gamma, beta and mean."""
    copy = copy_of(model)
    by_name = read(copy).layers()

    def zero_last_axis(layer, gone):
        weights = layer.get_weights()
        for weight in weights:
            weight[..., gone] = 0
        layer.set_weights(weights)

    for chain in chains:
        kept = keep[chain.producer.name]
        zero_last_axis(by_name[chain.producer.name], ~np.isin(np.arange(chain.producer.operation.filters), kept))
        for node, channels in chain.between:
            layer = by_name[node.name]
            gone = ~np.isin(channels, kept)
            if isinstance(layer, layers.BatchNormalization):
                weights = layer.get_weights()
                for weight in weights[:-1]:  # all but the variance
                    weight[gone] = 0
                layer.set_weights(weights)
            else:
                kernel, *bias = layer.get_weights()
                kernel[..., gone, :] = 0
                for value in bias:
                    value[np.repeat(gone, layer.depth_multiplier)] = 0
                layer.set_weights([kernel, *bias])
    return copy


def random_choice(chains, ratio, seed):
    generator = np.random.default_rng(seed)
    keep = {}
    for chain in chains:
        filters = chain.producer.operation.filters
        count = max(1, round(ratio * filters))
        keep[chain.producer.name] = np.sort(generator.choice(filters, count, replace=False))
    return keep


@pytest.mark.parametrize("pooling", ["flatten", "global"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
def test_removing_filters_equals_zeroing_them(pooling, ratio):
    model = randomised(made(residual_cnn))
    if pooling == "global":
        x = layers.GlobalMaxPooling2D()(model.get_layer("pool").output)
        model = randomised(made(lambda: keras.Model(model.inputs, layers.Dense(3, name="out")(x))))
    graph = read(model)
    chains, _ = find_chains(graph)
    keep = random_choice(chains, ratio, seed=1)

    pruned = remove_filters(graph, chains, keep)

    assert {chain.producer.name for chain in chains} == {"wide", "head"}
    assert largest_difference(pruned, masked(model, chains, keep)) < 1e-5
    assert pruned.count_params() < model.count_params()


@settings(max_examples=12, deadline=None)
@given(models(), st.floats(0.1, 0.9), st.integers(0, 99))
def test_removing_filters_equals_zeroing_them_in_any_graph(model, ratio, seed):
    graph = read(model)
    chains, _ = find_chains(graph)
    keep = random_choice(chains, ratio, seed)

    difference = largest_difference(remove_filters(graph, chains, keep), masked(model, chains, keep))

    assert difference < 1e-4


def test_one_dimensional_convolutions_are_pruned_too():
    inputs = keras.Input((12, 3))
    x = layers.Conv1D(8, 3, name="first", activation="relu")(inputs)
    x = layers.Flatten()(layers.MaxPooling1D()(x))
    model = randomised(keras.Model(inputs, layers.Dense(2)(x)))
    graph = read(model)
    chains, _ = find_chains(graph)
    keep = {"first": np.array([1, 2, 6])}

    assert largest_difference(remove_filters(graph, chains, keep), masked(model, chains, keep)) < 1e-5


def reasons(model) -> dict[str, str]:
    return {skip.layer: skip.why for skip in find_chains(read(model))[1]}


def test_what_meets_a_merge_is_left_alone_with_the_reason():
    why = reasons(made(residual_cnn))

    assert "2 places (wide, add)" in why["stem"]
    assert "meets add (Add)" in why["project"]


def conv_then(*following, filters=8, **settings):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(filters, 3, name="conv", **settings)(inputs)
    for layer in following:
        x = layer(x)
    return keras.Model(inputs, x)


class Custom(layers.Layer):
    def call(self, x):
        return x[:, ::-1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: conv_then(), "output of the model"),
        (lambda: conv_then(layers.ReLU()), "output of the model"),
        (lambda: conv_then(layers.Activation("sigmoid"), layers.Conv2D(2, 1)), "sigmoid"),
        (lambda: conv_then(layers.Conv2D(2, 1), activation="softmax"), "softmax"),
        (lambda: conv_then(layers.Reshape((8, 16)), layers.Dense(2)), "Reshape"),
        (lambda: conv_then(Custom(), layers.Conv2D(2, 1)), "Custom"),
        (lambda: conv_then(layers.BatchNormalization(axis=1), layers.Conv2D(2, 1)), "axis 1"),
        (lambda: conv_then(layers.Conv2D(4, 1, groups=2, name="grouped")), "grouped reads its channels in 2 groups"),
        (lambda: conv_then(layers.Conv2D(2, 1), groups=2), "2 groups"),
    ],
)
def test_what_cannot_be_followed_is_left_alone_with_the_reason(model, reason):
    assert reason in reasons(model())["conv"]


def test_a_shared_convolution_is_left_alone_with_the_reason():
    inputs = keras.Input((6, 6, 2))
    shared = layers.Conv2D(2, 1, name="shared")
    model = keras.Model(inputs, layers.Conv2D(3, 1)(shared(shared(inputs))))

    assert "shared" in reasons(model)["shared"]


@pytest.mark.parametrize(
    ("filters", "sparsity", "round_to", "kept"),
    [
        (64, 0.5, 8, 32),
        (64, 0.47, 8, 32),  # 33.9 would cost as much as 40
        (48, 0.5, 8, 24),
        (12, 0.5, 8, 8),
        (8, 0.5, 8, 4),  # the nearest multiple of 8 is none or all
        (16, 0.9, 8, 4),
        (4, 0.5, 8, 4),  # too few
        (10, 0.5, 1, 5),
    ],
)
def test_kept_filters_are_a_multiple_that_kernels_like(filters, sparsity, round_to, kept):
    assert kept_count(filters, sparsity, round_to) == kept


def test_the_step_prunes_fine_tunes_and_says_what_it_did():
    dataset = blobs()
    model = compiled(made(residual_cnn))
    settings = PruneStep(kind="prune", structure="filters", sparsity=0.5, epochs=1)
    before = [weight.copy() for weight in model.get_weights()]

    outcome = prune_filters(model, settings, context_for(model, dataset))

    assert outcome.model.get_layer("wide").filters == 8
    assert [(change.layer, change.what) for change in outcome.changed] == [
        ("wide", "16 -> 8 filters"),
        ("head", "16 -> 8 filters"),
    ]
    assert {skip.layer for skip in outcome.skipped} == {"stem", "project"}
    assert outcome.choices == {"filters": {"wide": 8, "head": 8}}
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_a_model_without_plain_chains_is_left_whole_and_the_report_says_so():
    dataset = blobs(shape=(4,))
    model = compiled(made(lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])))
    settings = PruneStep(kind="prune", structure="filters", sparsity=0.5, epochs=0)

    outcome = prune_filters(model, settings, context_for(model, dataset))

    assert outcome.changed == ()
    assert any("no filter was removed" in note for note in outcome.notes)
