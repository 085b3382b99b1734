"""A sha256 of arrays that says whether two data sets are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sha256_of_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the sha256 over dtype, shape and bytes of each array, in the order given."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
