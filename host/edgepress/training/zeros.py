"""Weights that a step set to zero, kept at zero by every training that follows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read


def zero_masks(model: Any) -> dict[str, NDArray[np.float32]]:
    """Return a mask (1: may change, 0: stays zero) for each kernel that was pruned, by layer name.

    A pruned kernel is told by its exact zeros, of which training leaves practically none, and holding those few does no
    harm. A kernel that is zero throughout has been initialised so, and must be free to learn. The mask is in the
    weights themselves: it outlives files.
    """
    masks = {}
    for name, layer in read(model).layers().items():
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        mask = (np.asarray(kernel) != 0).astype(np.float32)
        if mask.any() and not mask.all():
            masks[name] = mask
    return masks


def keep_zeros(model: Any) -> None:
    """Make every optimizer that trains this model leave the zeros of pruned kernels alone. In place; never saved."""
    layers = read(model).layers()
    for name, mask in zero_masks(model).items():
        kernel = layers[name].kernel
        kernel.constraint = _masked(mask, kernel.constraint)


def _masked(mask: NDArray[np.float32], before: Any) -> Any:
    def constraint(kernel: Any) -> Any:
        return (before(kernel) if before is not None else kernel) * mask

    return constraint
