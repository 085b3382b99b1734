"""Names by which a model's inputs and outputs are found again in a TFLite file.

The converter sorts inputs and outputs as it likes (by name, or not at all); only the signature's names survive. So the
names carry the position in the Keras model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SIGNATURE = "serving_default"

_POSITION = re.compile(r"(?:input|output)_(\d+)")


def input_name(position: int) -> str:
    """Return the signature's name of the model's input at ``position``."""
    return f"input_{position}"


def output_name(position: int) -> str:
    """Return the signature's name of the model's output at ``position``."""
    return f"output_{position}"


def model_order(names: Sequence[str]) -> list[int]:
    """Return the indices of ``names`` in the order of the Keras model.

    Names that are not ours, all of them counted from 0, stay in the order in which they stand.
    """
    matches = [_POSITION.fullmatch(name) for name in names]
    positions = [int(match[1]) for match in matches if match]
    if sorted(positions) != list(range(len(names))):
        return list(range(len(names)))
    return sorted(range(len(names)), key=positions.__getitem__)
