"""Runs on this machine, and the way between real values and what a file takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepress.conversion import translated
from edgepress.errors import DataError, ModelError
from edgepress_agent.protocol.tensors import dequantize, quantize

if TYPE_CHECKING:
    from edgepress_converters.model import TFLiteModel
    from edgepress_converters.pool import Delegate, WorkerPool

Array = NDArray[Any]


def run_file(
    model: TFLiteModel, inputs: Sequence[Array], pool: WorkerPool, *, delegate: Delegate = "default"
) -> tuple[Array, ...]:
    """Run a TFLite file on this machine, one sample at a time.

    Args:
        inputs: real values: one array per model input, in model order, each ``(n, ...)``.
        delegate: ``none`` leaves XNNPACK out.

    Returns:
        Raw outputs in model order, each ``(n, ...)`` in the dtype of the file's output.

    Raises:
        DataError: the arrays do not fit the model's inputs.
        ConversionError: the runtime refuses the file or died of it (WorkerDied).
    """
    with translated():
        return pool.run(model, to_raw(model, inputs), delegate=delegate)


def to_raw(model: TFLiteModel, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Turn real values into what the file's input tensors take, in model order.

    Raises:
        DataError: another number of arrays than the model has inputs, other shapes, or no samples.
        ModelError: an input takes strings.
    """
    if len(inputs) != len(model.inputs):
        raise DataError(f"{model.path.name} takes {len(model.inputs)} inputs; got {len(inputs)} arrays")
    counts = {len(array) for array in inputs}
    if len(counts) != 1 or counts == {0}:
        raise DataError(f"every input of {model.path.name} needs the same number of samples; got {sorted(counts)}")
    for spec, array in zip(model.inputs, inputs, strict=True):
        if spec.dtype == "object":
            raise ModelError(
                f"input {spec.name!r} of {model.path.name} takes strings; edgepress runs models of numbers"
            )
        if array.shape[1:] != spec.shape[1:]:
            raise DataError(
                f"input {spec.name!r} of {model.path.name} takes samples of shape {spec.shape[1:]}; "
                f"got {array.shape[1:]}"
            )
    return tuple(
        quantize(array, spec.dtype, spec.scale, spec.zero_point)
        for spec, array in zip(model.inputs, inputs, strict=True)
    )


def to_real(model: TFLiteModel, raw: Sequence[Array]) -> tuple[NDArray[np.float32], ...]:
    """Turn raw outputs, in model order, into real values."""
    return tuple(dequantize(array, spec.scale, spec.zero_point) for spec, array in zip(model.outputs, raw, strict=True))
