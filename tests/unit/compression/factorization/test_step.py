"""The step as a recipe has it."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgepress.compression.factorization.moments import measure_moments
from edgepress.compression.factorization.step import decomposition_of, factorize
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import rebuild
from edgepress.compression.recipe import FactorizeStep, Rank
from edgepress.data import Dataset
from edgepress.errors import CompressionError
from edgepress.training.cost import cost_of
from edgepress.training.evaluate import loss_of
from edgepress.training.fit import fine_tune
from edgepress.training.objective import objective_of
from support.compress_models import blobs, compiled, context_for, made, residual_cnn

layers = keras.layers


def factorized(model=None, **settings):
    model = model or compiled(made(residual_cnn))
    step = FactorizeStep(kind="factorize", **{"epochs": 0, **settings})
    return model, factorize(model, step, context_for(model, blobs()))


def test_what_shrinks_is_factorized_and_what_does_not_is_said():
    model, outcome = factorized(rank=Rank(fixed=4), epochs=1)

    said = {change.layer: change.what for change in outcome.changed}
    assert said["features"].startswith("256 x 24 -> 256 x 4 x 24: 18% of its weights, ")
    assert said["features"].endswith("% of its output on data lost")
    skipped = {skip.layer: skip.why for skip in outcome.skipped}
    assert "rank 3 would not make it smaller (2 would): 24 x 3 -> 24 x 3 x 3" in skipped["classes"]
    assert skipped["depthwise"] == "no factorization for DepthwiseConv2D layers"
    assert outcome.choices["ranks"]["features"] == [4]
    assert outcome.model.get_layer("features").activation.__name__ == "relu"
    assert outcome.model.get_layer("features_low_rank").activation.__name__ == "linear"
    assert cost_of(outcome.model).parameters < cost_of(model).parameters


@pytest.mark.parametrize("method", ["svd", "spatial-svd", "tucker2", "cp"])
def test_a_layer_costs_what_was_said_of_it(method):
    model, outcome = factorized(rank=Rank(fixed=4), method=method, keep=["features", "classes", "project"])

    graph = read(model)
    gain = [0, 0]
    for name, ranks in outcome.choices["ranks"].items():
        one = decomposition_of(graph, name, method)(graph, graph.calls(name)[0], None)
        cost = one.cost(tuple(ranks))
        gain[0] += one.whole.parameters - cost.parameters
        gain[1] += one.whole.macs - cost.macs
    before, after = cost_of(model), cost_of(outcome.model)
    assert set(outcome.choices["ranks"]) == {"stem", "wide", "head"}
    assert gain == [before.parameters - after.parameters, before.macs - after.macs]


@pytest.mark.parametrize("measure", ["parameters", "macs"])
def test_a_budget_is_one_of_the_whole_model(measure):
    model, outcome = factorized(rank=Rank(**{measure: 0.6}))

    assert getattr(cost_of(outcome.model), measure) <= 0.6 * getattr(cost_of(model), measure)
    assert not any("missed" in note for note in outcome.notes)


def test_layers_that_are_to_be_kept_are():
    _, outcome = factorized(rank=Rank(fixed=4), keep=["feat*"])

    assert "features" not in outcome.choices["ranks"]
    assert ("features", "keep leaves it alone") in [(skip.layer, skip.why) for skip in outcome.skipped]
    with pytest.raises(CompressionError, match="no layer is named 'faetures'"):
        factorized(rank=Rank(fixed=4), keep=["faetures"])


def test_pruned_weights_keep_their_zeros():
    model = compiled(made(residual_cnn))
    kernel, bias = model.get_layer("features").get_weights()
    model.get_layer("features").set_weights([np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel), bias])

    _, outcome = factorized(model, rank=Rank(fixed=4))

    assert ("features", "its zeros would be lost") in [(skip.layer, skip.why) for skip in outcome.skipped]


def test_a_model_can_be_factorized_twice():
    _, once = factorized(rank=Rank(fixed=8), method="tucker2")
    _, twice = factorized(compiled(once.model), rank=Rank(fixed=2), method="tucker2")

    assert {"head_low_rank", "head_core_2_core", "head_core"} & {layer.name for layer in twice.model.layers}
    assert cost_of(twice.model).parameters < cost_of(once.model).parameters


def test_a_frozen_layer_stays_frozen_in_all_its_parts():
    model = compiled(made(residual_cnn))
    model.get_layer("head").trainable = False

    _, outcome = factorized(model, rank=Rank(fixed=4), method="tucker2")

    parts = [layer for layer in outcome.model.layers if layer.name.startswith("head")]
    assert [layer.trainable for layer in parts] == [False] * 3


@pytest.fixture(scope="module")
def trained():
    """A small network that has learnt the digits, and their pictures."""
    digits = load_digits()
    pictures, labels = (digits.images[..., None] / 16).astype(np.float32), digits.target
    parts = [(pictures[part], labels[part]) for part in np.split(np.arange(1797), [1000, 1400])]
    dataset = Dataset.from_arrays(*parts[0], *parts[1], *parts[2])
    inputs = keras.Input((8, 8, 1))

    def net():
        x = layers.Conv2D(24, 3, padding="same", activation="relu")(inputs)
        x = layers.Conv2D(24, 3, padding="same", activation="relu", name="conv")(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dense(32, activation="relu", name="dense")(layers.Flatten()(x))
        return keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x))

    model = compiled(made(net))
    objective = objective_of(model, dataset)
    return fine_tune(model, dataset.training, objective, epochs=4, seed=0).model, dataset.training, objective


@pytest.mark.parametrize(
    ("method", "name", "ranks"),
    [
        ("svd", "dense", (6,)),
        ("svd", "conv", (4,)),
        ("spatial-svd", "conv", (4,)),
        ("tucker2", "conv", (4, 4)),
    ],
)
def test_with_data_less_is_lost_before_any_training(method, name, ranks, trained):
    model, data, objective = trained
    graph = read(model)
    kind = decomposition_of(graph, name, method)
    moments = measure_moments(graph, {name: kind.see}, data.train)[name]

    def loss(known):
        one = kind(graph, graph.calls(name)[0], known)
        return loss_of(rebuild(graph, {name: one.layers(ranks)}), data.val, objective)

    assert loss(moments) < 0.8 * loss(None)
