"""Unstructured pruning: the smallest weights are set to zero (magnitude pruning; Han et al. 2015, Zhu and Gupta 2017).

The file compresses better; the kernels of stock runtimes are no faster for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.recipe import PruneStep
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.training.fit import fine_tune

Mask = NDArray[np.bool_]

_PRUNABLE = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def prune_weights(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Set the smallest weights to zero and fine-tune the rest; the zeros stay zeros."""
    assert settings.scope is not None  # filled in by the recipe for this structure
    kernels, skipped = _kernels(model)
    masks = magnitude_masks(kernels, settings.sparsity, settings.scope)
    tuned = fine_tune(
        with_zeros(model, masks),
        context.data,
        context.objective,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=context.seed,
        progress=context.progress,
        description="Fine-tuning the pruned model",
    )
    changed = tuple(
        Change(name, f"{mask.size - int(mask.sum())} of {mask.size} weights set to zero")
        for name, mask in masks.items()
        if not mask.all()
    )
    return StepOutcome(tuned.model, context.conversion, changed, skipped, (tuned.summary,))


def magnitude_masks(
    kernels: Mapping[str, NDArray[np.float32]], sparsity: float, scope: Literal["local", "global"]
) -> dict[str, Mask]:
    """Return for each kernel which weights stay (True).

    Args:
        sparsity: share of weights to drop: of each kernel (local), or of all together by one threshold (global).
    """
    if scope == "local" or not kernels:
        return {name: _largest(np.abs(kernel), sparsity) for name, kernel in kernels.items()}
    together = _largest(np.abs(np.concatenate([kernel.ravel() for kernel in kernels.values()])), sparsity)
    ends = np.cumsum([kernel.size for kernel in kernels.values()])
    parts = np.split(together, ends[:-1])
    return {name: part.reshape(kernel.shape) for (name, kernel), part in zip(kernels.items(), parts, strict=True)}


def with_zeros(model: Any, masks: Mapping[str, Mask]) -> Any:
    """Return a copy of the model in which the kernels' weights outside of the masks are zero."""
    copy = copy_of(model)
    layers = read(copy).layers()
    for name, mask in masks.items():
        layers[name].kernel.assign(np.asarray(layers[name].kernel) * mask)
    return copy


def _largest(magnitudes: NDArray[np.float32], sparsity: float) -> Mask:
    """Exactly ``1 - sparsity`` of the places, ties broken by order."""
    dropped = round(sparsity * magnitudes.size)
    mask = np.ones(magnitudes.size, bool)
    mask[np.argsort(magnitudes.ravel(), kind="stable")[:dropped]] = False
    return mask.reshape(magnitudes.shape)


def _kernels(model: Any) -> tuple[dict[str, NDArray[np.float32]], tuple[Skip, ...]]:
    kernels: dict[str, NDArray[np.float32]] = {}
    skipped: list[Skip] = []
    for name, layer in read(model).layers().items():
        if type(layer) in _PRUNABLE:
            kernels[name] = np.asarray(layer.kernel, np.float32)
        elif isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
            skipped.append(Skip(name, "a depthwise convolution has few weights, and each matters to a whole channel"))
        elif any(len(weight.shape) > 1 for weight in layer.trainable_weights):
            skipped.append(Skip(name, f"no rule for the weights of {type(layer).__name__}"))
    return kernels, tuple(skipped)
