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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress_converters.signature import input_name

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


def samples_of(arrays: Sequence[Array]) -> Iterator[dict[str, Array]]:
    """Yield the samples in ``arrays`` (one array per model input) one at a time, by the names of the signature."""
    for index in range(len(arrays[0])):
        yield {input_name(position): array[index : index + 1] for position, array in enumerate(arrays)}
