"""The layer that loses in int8 is found, and why; biases take back what rounding shifts."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.compression.graph.reader import read
from edgepress.compression.quantization import causes
from edgepress.compression.quantization.annotate import annotate
from edgepress.compression.quantization.bias_correction import correct_biases
from edgepress.compression.quantization.diagnosis import Diagnosis, diagnose
from edgepress.compression.quantization.equalization import equalize
from edgepress.compression.quantization.folding import fold_batchnorm
from edgepress.compression.quantization.ranges import set_ranges
from edgepress.compression.quantization.runs import Run
from edgepress.data import Split
from edgepress.training.evaluate import predict


def pictures() -> Split:
    return Split((np.random.default_rng(0).random((32, 8, 8, 2), np.float32),), ())


def network(channels: int = 16) -> Any:
    """Two branches that are joined, a gate, and layers before and behind them."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(channels, 3, activation="relu", name="first", bias_initializer="ones")(inputs)
    x = layers.Conv2D(channels, 1, activation="relu", name="second", bias_initializer="ones")(x)
    one = layers.Conv2D(8, 1, activation="relu", name="one", bias_initializer="ones")(x)
    two = layers.Conv2D(8, 1, activation="relu", name="two", bias_initializer="ones")(x)
    x = layers.Conv2D(8, 1, name="reduce", use_bias=False)(layers.Concatenate(name="join")([one, two]))
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(x)
    x = layers.Multiply(name="excite")([x, gate])
    return keras.Model(inputs, layers.Dense(4, name="answer")(layers.GlobalAveragePooling2D()(x)))


def rescale(model: Any, writer: str, reader: str, factors: Any) -> None:
    """Multiply channels where they are made, divide where they are read: the same function."""
    kernel, bias = model.get_layer(writer).get_weights()
    model.get_layer(writer).set_weights([kernel * factors, bias * factors])
    kernel, *bias = model.get_layer(reader).get_weights()
    kernel[..., : len(factors), :] /= factors[:, None]
    model.get_layer(reader).set_weights([kernel, *bias])


def quantized(model: Any) -> Any:
    return set_ranges(annotate(model).model, pictures().inputs)


def diagnosis_of(model: Any) -> Diagnosis:
    return diagnose(quantized(model), pictures())


def test_an_honest_network_has_small_errors_and_no_cause() -> None:
    diagnosis = diagnosis_of(network())
    assert max(one.local for one in diagnosis.layers) < 0.05
    assert diagnosis.causes == ()


def test_layers_come_in_the_order_of_the_graph_and_errors_add_up() -> None:
    diagnosis = diagnosis_of(network())
    names = [one.layer for one in diagnosis.layers]
    assert [name for name in names if name in ("first", "second", "reduce", "answer")] == [
        "first",
        "second",
        "reduce",
        "answer",
    ]
    by_name = {one.layer: one for one in diagnosis.layers}
    assert by_name["answer"].cumulative > by_name["answer"].local
    assert by_name["first"].cumulative == by_name["first"].local > 0


def plant_scales(model: Any) -> None:
    rescale(model, "first", "second", 2.0 ** (np.arange(16) % 9 - 4))


def plant_outlier(model: Any) -> None:
    rescale(model, "first", "second", np.where(np.arange(16) == 5, 128.0, 1.0))


def plant_branch(model: Any) -> None:
    rescale(model, "one", "reduce", np.full(8, 256.0))


def plant_gate(model: Any) -> None:
    gate = model.get_layer("gate")
    kernel, bias = gate.get_weights()
    gate.set_weights([kernel * 0.1, bias - 5])


PLANTED = [
    (plant_scales, causes.SCALES, "second"),
    (plant_outlier, causes.OUTLIER, "second"),
    (plant_branch, causes.CONCAT, "reduce"),
    (plant_gate, causes.GATE, "excite"),
]


@pytest.mark.parametrize(("plant", "kind", "layer"), PLANTED)
def test_a_planted_fault_is_named_first_with_its_layer(plant: Any, kind: str, layer: str) -> None:
    model = network()
    plant(model)
    first = diagnosis_of(model).ranked[0]
    assert first.layer == layer
    assert first.cause is not None
    assert first.cause.kind == kind


@pytest.mark.parametrize("plant", [plant_scales, plant_outlier, plant_branch])
def test_equalization_repairs_what_homogeneous_activations_allow(plant: Any) -> None:
    model = network()
    plant(model)
    before = diagnosis_of(model).ranked[0].local
    after = diagnosis_of(equalize(fold_batchnorm(model).model, pictures()).model).ranked[0].local
    assert after < before / 3


def test_a_corrected_model_is_right_on_average_where_rounding_shifted_it() -> None:
    model, data = network(), pictures()
    plant_scales(model)
    shifted = quantized(model)
    corrected = correct_biases(shifted, data)
    (wanted,), (before,), (after,) = (predict(one, data.inputs) for one in (model, shifted, corrected))
    assert np.abs((after - wanted).mean(axis=0)).max() < 0.3 * np.abs((before - wanted).mean(axis=0)).max()


def test_correction_changes_no_kernel_and_no_model_that_it_is_given() -> None:
    model = quantized(network())
    weights = [weight.copy() for weight in model.get_weights()]
    corrected = correct_biases(model, pictures())
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(
        corrected.get_layer("first").get_weights()[0], model.get_layer("first").get_weights()[0]
    )


def test_a_diagnosis_can_be_written_as_json() -> None:
    layers_ = json.loads(json.dumps(diagnosis_of(network()).as_json()))["layers"]
    assert {"layer", "kind", "local", "cumulative", "makers", "cause", "local_snr_db"} == set(layers_[0])


def test_bytes_are_run_as_the_numbers_that_a_model_takes():
    graph = read(network())
    first = next(node for node in graph.nodes if node.name == "first")

    assert Run(graph, [np.full((1, 8, 8, 2), 255, np.uint8)]).call(first).shape == (1, 6, 6, 16)
