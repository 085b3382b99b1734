"""Recurrent layers in integers: written out step by step, without a word from the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.conversion import convert_model
from edgepress.verification.reference import run_file, to_real
from edgepress_converters.errors import UnsupportedModelError
from edgepress_converters.export import export_saved_model
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from edgepress_converters.recurrent import MOST_STEPS, steps_written_out
from support import models_small


def several() -> keras.Model:
    """A Bidirectional, a bare cell in an RNN, and a layer within a nested model."""
    series = keras.Input((6, 3))
    nested = keras.Sequential([keras.Input((6, 4)), layers.SimpleRNN(4)])
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True))(series)
    x = layers.RNN(layers.LSTMCell(4), return_sequences=True)(x)
    return keras.Model(series, layers.Dense(3)(nested(x)), name="several")


@pytest.mark.parametrize("format", ["int8", "int16x8"])
@pytest.mark.parametrize("make", [models_small.rolled_lstm, several])
def test_recurrent_layers_compute_in_integers_what_keras_computes(
    make: Any, format: Any, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    model = make()
    (x,) = models_small.inputs_for(model, 30)
    file = convert_model(model, tmp_path / "model.tflite", ConversionOptions(format, "float32"), (x,), worker_pool)
    assert {operator.kind for operator in file.float_operators} <= {"SPLIT"}
    (y,) = to_real(file, run_file(file, (x,), worker_pool))
    expected = model.predict(x, verbose=0)
    assert np.abs(y - expected).max() < (0.08 if format == "int8" else 0.01) * np.ptp(expected)


def test_the_model_itself_keeps_its_loops() -> None:
    model = models_small.rolled_lstm()
    with steps_written_out(model):
        assert model.layers[1].unroll
    assert not model.layers[1].unroll


def test_layers_with_more_steps_than_are_written_out_are_refused_with_a_format_that_keeps_the_loop(
    tmp_path: Path,
) -> None:
    series = keras.Input((MOST_STEPS // 2, 2))
    both = layers.Bidirectional(layers.LSTM(2, name="long", return_sequences=True))(series)
    model = keras.Model(series, layers.GRU(2, name="gru")(both))
    each = f"forward_long {MOST_STEPS // 2}, backward_long {MOST_STEPS // 2}, gru {MOST_STEPS // 2}"
    with pytest.raises(UnsupportedModelError, match=f"has {MOST_STEPS * 3 // 2} \\({each}\\).*dynamic"):
        export_saved_model(model, tmp_path / "saved_model", steps_in_a_row=True)
    export_saved_model(model, tmp_path / "saved_model")


def test_steps_that_are_not_fixed_are_refused() -> None:
    series = keras.Input((None, 2))
    model = keras.Model(series, layers.LSTM(2, name="open")(series))
    with (
        pytest.raises(UnsupportedModelError, match="steps of the recurrent layer 'open' are not fixed"),
        steps_written_out(model),
    ):
        pass
