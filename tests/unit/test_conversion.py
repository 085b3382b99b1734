from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgepress import errors
from edgepress.conversion import convert_model, inspect, translated
from edgepress_converters import errors as converter_errors
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from support import models_small


def test_a_keras_model_becomes_a_file_of_which_is_said_what_it_is(worker_pool: WorkerPool, tmp_path: Path) -> None:
    output = tmp_path / "folder" / "model.tflite"
    calibration = models_small.inputs_for(models_small.dense_only(), 8)
    model = convert_model(models_small.dense_only(), output, ConversionOptions("int8"), calibration, worker_pool)
    assert model.path == output
    assert inspect(output) == model
    assert sorted(path.name for path in output.parent.iterdir()) == ["model.tflite"]


def test_calibration_data_are_taken_in_the_dtype_of_the_models_input(worker_pool: WorkerPool, tmp_path: Path) -> None:
    as_double = (np.linspace(-1, 1, 64 * 8).reshape(8, 64),)
    options = ConversionOptions("int8")
    model = convert_model(models_small.dense_only(), tmp_path / "m.tflite", options, as_double, worker_pool)
    assert model.inputs[0].scale == pytest.approx(2 / 255, rel=0.01)


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (None, "got none"),
        ((np.zeros((3, 64)), np.zeros((3, 64))), "takes 1 arrays, one per input; got 2"),
        ((np.zeros((3, 8, 8)),), r"have shape \(3, 8, 8\); the model takes \(None, 64\)"),
        ((np.full((3, 64), np.nan),), "NaN"),
    ],
)
def test_calibration_data_that_do_not_fit_are_data_errors(
    calibration: Any, said: str, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    with pytest.raises(errors.DataError, match=said):
        convert_model(
            models_small.dense_only(), tmp_path / "m.tflite", ConversionOptions("int8"), calibration, worker_pool
        )


def test_a_model_without_a_graph_is_a_model_error(worker_pool: WorkerPool, tmp_path: Path) -> None:
    class Subclassed(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    data = (np.zeros((3, 4)),)
    with pytest.raises(errors.ModelError, match="functional or Sequential"):
        convert_model(Subclassed(), tmp_path / "m.tflite", ConversionOptions("int8"), data, worker_pool)


def test_a_file_that_cannot_be_read_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ModelError, match=r"cannot read .*missing\.tflite: No such file"):
        inspect(tmp_path / "missing.tflite")
    with pytest.raises(errors.ModelError, match="cannot read"):
        inspect(tmp_path)
    (tmp_path / "model.tflite").write_bytes(b"not a model")
    with pytest.raises(errors.ModelError, match="is no TFLite file"):
        inspect(tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (converter_errors.NotTFLiteError("x"), errors.ModelError),
        (converter_errors.UnsupportedModelError("x"), errors.ModelError),
        (converter_errors.ConversionRefusedError("x"), errors.ConversionError),
        (converter_errors.RunRefusedError("x"), errors.ConversionError),
        (converter_errors.UnexpectedFloatError("x", ("t",)), errors.UnexpectedFloatError),
        (converter_errors.WorkerDiedError("x", "SIGSEGV", "converting"), errors.WorkerDied),
        (converter_errors.CalibrationError("x"), errors.DataError),
        (converter_errors.MissingPackageError("x"), errors.MissingPackageError),
        (converter_errors.UnsupportedOptionError("x"), errors.InputError),
    ],
)
def test_every_error_of_the_converters_becomes_one_of_edgepress(raised: Exception, expected: type) -> None:
    with pytest.raises(errors.EdgepressError, match="x") as caught, translated():
        raise raised
    assert caught.type is expected
    assert caught.value.__cause__ is raised


def test_no_error_of_the_converters_was_forgotten_above() -> None:
    for error in converter_errors.ConverterError.__subclasses__():
        with pytest.raises(errors.EdgepressError), translated():
            raise error("x")


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError
