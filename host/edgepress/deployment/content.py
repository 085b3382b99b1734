"""Bringing models and inputs into a board's content store: what is there already is not sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepress.progress import Progress, Silent
from edgepress_agent.protocol.tensors import encode_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress.devices.device import Device
    from edgepress_converters.model import TFLiteModel


def push_model(device: Device, model: TFLiteModel, progress: Progress | None = None) -> None:
    """Bring a model onto a device, under its content hash. Resumes an upload that was interrupted.

    Raises:
        DiskFullError: it does not fit; the message says what is needed and what is free.
        AgentError: the file changed since the model was read, so that its hash is another.
        LinkLostError: call again to go on where the link broke.
    """
    with (progress or Silent()).task(f"sending {model.path.name} to {device.name}", model.size_bytes, "bytes") as task:
        device.client.push(model.path, model.sha256, task)


def push_inputs(device: Device, arrays: Sequence[NDArray[Any]], progress: Progress | None = None) -> str:
    """Bring input arrays onto a device and return the hash by which a job names them.

    Args:
        arrays: one per model input, in model order, each (n, ...); floats are quantized on the board.

    Raises:
        As :func:`push_model`.
    """
    data = encode_arrays(arrays)
    sha256 = hashlib.sha256(data).hexdigest()
    with (progress or Silent()).task(f"sending inputs to {device.name}", len(data), "bytes") as task:
        device.client.push(data, sha256, task)
    return sha256
