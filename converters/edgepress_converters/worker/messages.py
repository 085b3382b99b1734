"""What host and worker say to each other: one JSON object a line; arrays go through files.

::

    {"task": "prepare"}                                                                        no answer
    {"task": "convert", "saved_model": PATH, "output": PATH, "options": {}, "calibration": PATH | null}
    {"task": "run", "model": PATH, "inputs": PATH, "outputs": PATH, "input_positions": [], "output_positions": [],
     "delegate": "default" | "none"}

The answer is ``{}`` or ``{"error": NAME, "message": TEXT}``, with the name of a class of
:mod:`edgepress_converters.errors`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return a message as a line."""
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read a message from its line."""
    message: Message = json.loads(line)
    return message


def save_arrays(path: Path, arrays: Sequence[Array]) -> None:
    """Write arrays to a new file, in order."""
    np.savez(path, *arrays)


def load_arrays(path: Path) -> tuple[Array, ...]:
    """Read what :func:`save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return tuple(file[f"arr_{position}"] for position in range(len(file.files)))
