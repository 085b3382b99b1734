"""The one place where the host calls the converters, and where their errors become the host's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepress.errors import (
    ConversionError,
    DataError,
    InputError,
    MissingPackageError,
    ModelError,
    RuntimeCompatibilityError,
    UnexpectedFloatError,
    WorkerDied,
)
from edgepress_converters import errors as converter_errors

if TYPE_CHECKING:
    import keras

    from edgepress_converters.model import TFLiteModel
    from edgepress_converters.options import ConversionOptions
    from edgepress_converters.pool import WorkerPool


def convert_model(
    model: keras.Model,
    output: Path,
    options: ConversionOptions,
    calibration: Sequence[NDArray[Any]] | None,
    pool: WorkerPool,
) -> TFLiteModel:
    """Convert a Keras model to the TFLite file ``output``, with the batch fixed to 1.

    In integers the steps of recurrent layers are written out one after another, and what the converter then leaves in
    float of them is allowed.

    ``output`` appears complete and checked, or not at all.

    Args:
        calibration: one array per model input, in model order, each ``(n, ...)``: training inputs. Needed by ``int8``
            and ``int16x8`` only; ``options.calibration_samples`` of them are used.

    Raises:
        ModelError: the model has no fixed graph or an open dimension.
        DataError: calibration data are missing, do not match the model's inputs, or contain NaN.
        ConversionError: zeros cannot be left out, or the converter refused, or died (WorkerDied), or left something
            float in integers (UnexpectedFloatError).
        RuntimeCompatibilityError: a runtime that the options name, or every known one, does not take the file.
        InputError: an option that does not exist, or does not go with the others.
    """
    from edgepress_converters.export import export_saved_model
    from edgepress_converters.recurrent import LEFT_FLOAT, has_loops

    if options.sparse:
        from edgepress.compression.sparsity import why_not_sparse

        why = why_not_sparse(model, options.format)
        if why is not None:
            raise ConversionError(
                f'{output.name} cannot leave zeros out: {why}. With convert.sparse = "never" they are written'
            )

    with tempfile.TemporaryDirectory(prefix="edgepress-") as scratch, translated():
        saved_model = Path(scratch) / "saved_model"
        if options.computes_in_integers and has_loops(model):
            options = replace(options, allow_float=(*options.allow_float, LEFT_FLOAT))
        export_saved_model(model, saved_model, steps_in_a_row=options.computes_in_integers)
        samples = _as_inputs(model, calibration) if calibration is not None and options.needs_calibration else None
        return pool.convert(saved_model, output, options, samples)


def inspect(path: Path) -> TFLiteModel:
    """Read what a .tflite file says about itself; see :class:`edgepress_converters.model.TFLiteModel`.

    Raises:
        ModelError: there is no such file, or it is no TFLite file, or it is truncated or damaged.
    """
    from edgepress_converters.flatbuffer import read_model

    try:
        with translated():
            return read_model(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def translated() -> Iterator[None]:
    """Turn the converters' errors into those of :mod:`edgepress.errors`. The original is the ``__cause__``."""
    try:
        yield
    except converter_errors.ConverterError as error:
        for converter_class, host_class in _TRANSLATIONS.items():
            if isinstance(error, converter_class):
                raise host_class(str(error)) from error
        raise ConversionError(str(error)) from error


_TRANSLATIONS = {
    converter_errors.NotTFLiteError: ModelError,
    converter_errors.UnsupportedModelError: ModelError,
    converter_errors.CalibrationError: DataError,
    converter_errors.UnsupportedOptionError: InputError,
    converter_errors.MissingPackageError: MissingPackageError,
    converter_errors.UnexpectedFloatError: UnexpectedFloatError,
    converter_errors.RuntimeRefusesError: RuntimeCompatibilityError,
    converter_errors.WorkerDiedError: WorkerDied,
}


def _as_inputs(model: keras.Model, arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Return arrays in the dtypes of the model's inputs."""
    if len(model.inputs) != len(arrays):
        raise DataError(
            f"calibration of {model.name!r} takes {len(model.inputs)} arrays, one per input; got {len(arrays)}"
        )
    for tensor, array in zip(model.inputs, arrays, strict=True):
        if tuple(array.shape[1:]) != tuple(tensor.shape[1:]):
            raise DataError(
                f"calibration data of input {tensor.name!r} have shape {array.shape}; the model takes {tensor.shape}"
            )
    return tuple(np.asarray(array, tensor.dtype) for tensor, array in zip(model.inputs, arrays, strict=True))
