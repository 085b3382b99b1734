"""The ladder takes the first rung within its tolerance, says which and why, and is never silently worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.compression.quantization.ladder import climb_ladder
from edgepress.compression.recipe import QuantizeStep
from edgepress.compression.steps import Judge, StepContext, StepOutcome
from edgepress.data import InputSpec, Split, TrainingData
from edgepress.training.evaluate import predict
from edgepress.training.objective import Objective
from edgepress_agent.protocol.messages import RunReport
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from support.table_rows import run_report

OBJECTIVE = Objective(("sparse_categorical_crossentropy",), "accuracy", learning_rate=1e-3, batch_size=32)


def network(activation: str = "relu") -> Any:
    """Answers each of three classes about as often."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, activation=activation, name="writer", bias_initializer="ones")(inputs)
    x = layers.Conv2D(8, 3, activation="relu", name="reader")(x)
    model = keras.Model(inputs, layers.Dense(3, name="answer")(layers.Flatten()(x)))
    kernel, _ = model.get_layer("answer").get_weights()
    (logits,) = predict(model, [pictures()])
    model.get_layer("answer").set_weights([kernel, -logits.mean(axis=0)])
    return model


def pictures() -> Any:
    return np.random.default_rng(0).random((900, 8, 8, 1), np.float32)


def planted(model: Any) -> Any:
    """One channel is 512 times what it was, and its readers make nothing of it: int8 has two levels for the others."""
    kernel, bias = model.get_layer("writer").get_weights()
    factors = np.array([512.0, 1, 1, 1, 1, 1, 1, 1])
    model.get_layer("writer").set_weights([kernel * factors, bias * factors])
    kernel, bias = model.get_layer("reader").get_weights()
    model.get_layer("reader").set_weights([kernel / factors[:, None], bias])
    return model


def data_of(model: Any, unsure: float = 0.3) -> TrainingData:
    """Pictures whose labels are what the model answers, without the ``unsure`` share that nearly had another one."""
    (outputs,) = predict(model, [pictures()])
    ranked = np.sort(outputs, axis=-1)
    distance = ranked[:, -1] - ranked[:, -2]
    sure = distance >= np.quantile(distance, unsure)
    inputs, labels = pictures()[sure], outputs[sure].argmax(axis=-1)
    half = len(inputs) // 2
    spec = InputSpec(((8, 8, 1),), ("float32",), ((0.0, 1.0),))
    return TrainingData(Split((inputs[:half],), (labels[:half],)), Split((inputs[half:],), (labels[half:],)), spec)


def climbed(
    model: Any,
    pool: WorkerPool,
    *,
    data: TrainingData | None = None,
    max_drop: float = 0.01,
    epochs: int = 0,
    judge: Judge | None = None,
) -> StepOutcome:
    settings = QuantizeStep(kind="quantize", method="ladder", max_drop=max_drop, epochs=epochs)
    conversion = ConversionOptions(format="int8", calibration_samples=50)
    context = StepContext(data or data_of(model), OBJECTIVE, model, conversion, judge=judge, pool=pool)
    return climb_ladder(model, settings, context)


def test_an_honest_model_stays_on_the_first_rung(worker_pool: WorkerPool) -> None:
    model = network()
    outcome = climbed(model, worker_pool)
    assert outcome.choices["rung"] == "post-training"
    assert outcome.conversion.ranges == "calibrated"
    assert "the first rung that loses at most 0.01 of accuracy" in outcome.notes[0]


def test_a_loud_channel_is_repaired_by_equalization_and_every_rung_before_it_is_told(worker_pool: WorkerPool) -> None:
    outcome = climbed(planted(network()), worker_pool)
    assert outcome.choices["rung"] == "equalization and bias correction"
    assert outcome.conversion.ranges == "in-model"
    assert "writer" in [change.layer for change in outcome.changed]
    told = [note.partition(":")[0] for note in outcome.notes[1:]]
    assert told == ["post-training", "ranges by percentile", "ranges by mse", "equalization and bias correction"]


def test_where_equalization_cannot_reach_the_guilty_layers_stay_float(worker_pool: WorkerPool) -> None:
    """SiLU between the layers lets no factor through."""
    asked: list[TFLiteModel] = []

    def measure(files: Sequence[TFLiteModel]) -> tuple[RunReport, ...]:
        asked.extend(files)
        return tuple(run_report([[median + number for number in range(40)]] * 10) for median in (100_000, 150_000))

    outcome = climbed(planted(network("silu")), worker_pool, judge=Judge("board", measure))
    assert outcome.choices["rung"] == "worst layers in float"
    assert {"writer", "reader"} <= set(outcome.choices["left_float"])
    assert [bool(dict(file.tensor_types).get("FLOAT32")) for file in asked] == [False, True]
    assert outcome.notes[-1].startswith("with layers in float 1.50 of the latency of all in int8 on board")


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_model_worse_than_the_tolerance_is_never_returned_silently(worker_pool: WorkerPool, epochs: int) -> None:
    """Where every nearly other answer counts and none may change, no int8 file is good enough."""
    model = planted(network("silu"))
    outcome = climbed(model, worker_pool, data=data_of(model, unsure=0.0), max_drop=0.0, epochs=epochs)
    assert outcome.notes[0].startswith("NOT WITHIN TOLERANCE: no rung loses at most 0 of accuracy")
    lost = {note.partition(": loses +")[0]: float(note.split()[-5]) for note in outcome.notes if ": loses " in note}
    assert ("quantization-aware training" in lost) == (epochs > 0)
    assert outcome.notes[0].count(min(lost, key=lambda words: lost[words])) == 1


def test_calibration_data_prepared_wrongly_are_found_and_put_right(worker_pool: WorkerPool) -> None:
    model = network()
    data = data_of(model)
    wrong = TrainingData(Split((data.train.inputs[0] / 255,), data.train.targets), data.val, data.input_spec)
    outcome = climbed(model, worker_pool, data=wrong)
    assert "the first rung that loses at most" in outcome.notes[0]
    assert outcome.conversion.ranges == "in-model"
    assert any("prepared otherwise" in note and "times 255" in note for note in outcome.notes)
