"""Which weights matter least by their size, one by one or in blocks (magnitude pruning: Han et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import has_other_weights
from edgepress.compression.graph.reader import read
from edgepress.compression.pruning.keep import check_patterns, first_kept
from edgepress.compression.steps import Skip

Kernel = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLOCKS: Mapping[str | None, int] = {None: 1, "1x4": 4, "1x16": 16}
"""A recipe's word -> how many inputs of one output are zero together."""

_PRUNABLE = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def prunable_kernels(
    model: Any, block: int = 1, keep: Sequence[str] = ()
) -> tuple[dict[str, Kernel], tuple[Skip, ...]]:
    """Return the kernels that may lose weights, by name of layer, and each other layer with the reason.

    Raises:
        CompressionError: a pattern names no layer.
    """
    layers = read(model).layers()
    check_patterns(keep, layers)
    kernels: dict[str, Kernel] = {}
    skipped: list[Skip] = []
    for name, layer in layers.items():
        why = _why_not(name, layer, block, keep)
        if why is not None:
            skipped.append(Skip(name, why))
        elif type(layer) in _PRUNABLE:
            kernels[name] = np.asarray(layer.kernel, np.float32)
    return kernels, tuple(skipped)


def magnitude_masks(
    kernels: Mapping[str, Kernel], sparsity: float, scope: Literal["local", "global"], block: int = 1
) -> dict[str, Mask]:
    """Return for each kernel ``(..., inputs, outputs)`` which weights stay (True).

    Of each kernel at least the largest one stays: a model with a layer of zeros answers a constant.

    Args:
        sparsity: share of weights to drop: of each kernel (local), or of all together by one threshold (global).
        block: so many inputs of one output stay or go together, by the root of their sum of squares; divides the number
            of inputs of each kernel.
    """
    sizes = {name: _sizes(kernel, block) for name, kernel in kernels.items()}
    if scope == "local" or not kernels:
        masks = {name: _largest(size, sparsity) for name, size in sizes.items()}
    else:
        together = _largest(np.concatenate([size.ravel() for size in sizes.values()]), sparsity)
        ends = np.cumsum([size.size for size in sizes.values()])
        parts = np.split(together, ends[:-1])
        masks = {name: part.reshape(size.shape) for (name, size), part in zip(sizes.items(), parts, strict=True)}
    for name, mask in masks.items():
        if not mask.any():
            mask[np.unravel_index(sizes[name].argmax(), mask.shape)] = True
    return {name: np.repeat(mask, block, axis=-2) for name, mask in masks.items()}


def _sizes(kernel: Kernel, block: int) -> NDArray[np.float64]:
    *space, inputs, outputs = kernel.shape
    blocks = kernel.astype(np.float64).reshape(*space, inputs // block, block, outputs)
    return np.asarray(np.sqrt(np.square(blocks).sum(axis=-2)))


def _largest(sizes: NDArray[np.float64], sparsity: float) -> Mask:
    """Exactly ``1 - sparsity`` of the places, ties broken by order."""
    mask = np.ones(sizes.size, bool)
    mask[np.argsort(sizes.ravel(), kind="stable")[: round(sparsity * sizes.size)]] = False
    return mask.reshape(sizes.shape)


def _why_not(name: str, layer: Any, block: int, keep: Sequence[str]) -> str | None:
    """Why a layer with a kernel keeps all of its weights; None where it need not, and where there is none."""
    if isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        return "a depthwise convolution has few weights, and each matters to a whole channel"
    if type(layer) not in _PRUNABLE:
        has_weights = any(len(weight.shape) > 1 for weight in layer.trainable_weights)
        return f"no rule for the weights of {type(layer).__name__}" if has_weights else None
    if has_other_weights(layer):
        return f"it has other weights than {type(layer).__name__} layers have"
    if first_kept(keep, [name]):
        return "keep leaves it alone"
    inputs = layer.kernel.shape[-2]
    return f"its {inputs} inputs are no multiple of {block}" if inputs % block else None
