"""One input through a model on a device: what it answers, and how long that took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.benchmarking import session
from edgepress.confirmation import require_compatible
from edgepress.conversion import inspect
from edgepress.data.pictures import SUFFIXES, Pictures
from edgepress.devices.device import Device
from edgepress.errors import DataError
from edgepress.verification.reference import to_real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress_converters.model import TensorSpec

    Array = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        device, runtime: where, and by what.
        outputs: real values, one array per model output, without the batch.
        labels: names of the first output's entries; empty when unknown.
        latency_ns: of this one inference in a fresh process: colder than the steady state of ``bench``.
    """

    device: str
    runtime: str
    outputs: tuple[Array, ...]
    labels: tuple[str, ...]
    latency_ns: int

    def ranked(self, count: int) -> list[tuple[str, float]]:
        """The largest entries of the first output, with their labels (or positions)."""
        values = self.outputs[0].ravel()
        order = np.argsort(values, kind="stable")[::-1][:count]
        named = len(self.labels) == values.size
        return [(self.labels[i] if named else str(i), float(values[i])) for i in order]

    def as_json(self) -> dict[str, Any]:
        """JSON values; None for outputs that are NaN or infinite."""
        return {
            "device": self.device,
            "runtime": self.runtime,
            "latency_ns": self.latency_ns,
            "labels": list(self.labels),
            "outputs": [_json_numbers(output) for output in self.outputs],
        }


def infer(file: str | Path, *, device: str, inputs: Sequence[str | Path], runtime: str | None = None) -> Answer:
    """Run one input through a TFLite file on a device.

    A ``report.json`` beside the file, as ``compress`` leaves it, says how a picture becomes an input and names labels.

    Args:
        inputs: a picture or a ``.npy`` array (with or without the batch) per model input, in model order.

    Raises:
        ModelError, DataError: the file or an input cannot be used. DeviceError: the device could not run it.
    """
    path = Path(file)
    model = inspect(path)
    spec = _input_spec(path)
    if len(inputs) != len(model.inputs):
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise DataError(f"{path} takes {len(model.inputs)} inputs ({names}); got {len(inputs)}: {_names(inputs)}")
    arrays = tuple(read_input(Path(given), tensor, spec) for given, tensor in zip(inputs, model.inputs, strict=True))
    with Device.open(device) as board:
        chosen = board.runtime(runtime)
        require_compatible(model, chosen, board.name)
        report, raw = session.evaluate(board, model, arrays, runtime=chosen)
    real = to_real(model, raw)
    return Answer(
        device=device,
        runtime=f"{report.runtime.name} {report.runtime.version}",
        outputs=tuple(output[0, ...] for output in real),
        labels=tuple(spec.get("labels", ())),
        latency_ns=report.latency_ns[0],
    )


def read_input(path: Path, tensor: TensorSpec, spec: dict[str, Any]) -> Array:
    """Read a picture or a .npy file as a float batch of one that fits an input.

    Raises:
        DataError: no such file, not a picture or array, or a shape that does not fit.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix.lower() in SUFFIXES:
        return _read_picture(path, tensor, spec)
    if path.suffix.lower() != ".npy":
        raise DataError(f"{path}: expected a .npy array or a picture ({', '.join(SUFFIXES)})")
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is not a .npy array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} has the dtype {array.dtype}; numbers are wanted")
    if array.shape == tensor.shape[1:]:
        array = array[None]
    if array.shape != tensor.shape:
        raise DataError(
            f"{path} has shape {array.shape}; input {tensor.name!r} takes {tensor.shape[1:]} (or {tensor.shape})"
        )
    if not np.isfinite(array).all():
        raise DataError(f"{path} holds NaN or infinity")
    return array


def _read_picture(path: Path, tensor: TensorSpec, spec: dict[str, Any]) -> Array:
    if len(tensor.shape) != 4 or tensor.shape[3] not in (1, 3):
        raise DataError(
            f"{path} is a picture; input {tensor.name!r} of shape {tensor.shape[1:]} takes none: hand in a .npy array"
        )
    _, height, width, channels = tensor.shape
    pictures = Pictures(
        (height, width),
        "gray" if channels == 1 else "bgr" if spec.get("color") == "bgr" else "rgb",
        tuple(spec.get("mean", (0.0,))),
        tuple(spec.get("scale", (1.0,))),
    )
    return pictures.read(path)[None]


def _input_spec(path: Path) -> dict[str, Any]:
    try:
        report = json.loads((path.parent / "report.json").read_text())
        spec: dict[str, Any] = report["input_spec"]
    except (OSError, ValueError, KeyError):
        return {}
    return spec


def _json_numbers(array: Array) -> Any:
    numbers = array.astype(object)
    numbers[~np.isfinite(array)] = None
    return numbers.tolist()


def _names(paths: Sequence[str | Path]) -> str:
    return ", ".join(str(path) for path in paths)
