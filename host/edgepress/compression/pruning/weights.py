"""Unstructured pruning: the smallest weights are set to zero, at once or while the model trains.

The file compresses better. The kernels of stock runtimes are faster for it only where zeros come in blocks, and not
always then: see :mod:`edgepress.sparse`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.pruning.gradual import GradualPruning
from edgepress.compression.pruning.magnitude import BLOCKS, Mask, magnitude_masks, prunable_kernels
from edgepress.compression.recipe import PruneStep
from edgepress.compression.recovery import recover
from edgepress.compression.steps import Change, StepContext, StepOutcome
from edgepress.training.fit import FineTuned

_DESCRIPTION = "Fine-tuning the pruned model"


def prune_weights(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Set the smallest weights to zero and train the rest; the zeros stay zeros.

    Raises:
        CompressionError: a pattern in ``keep`` names no layer.
    """
    kernels, skipped = prunable_kernels(model, BLOCKS[settings.block], settings.keep)
    if settings.schedule == "gradual":
        tuned = _gradually(model, settings, context)
    else:
        tuned = recover(_at_once(model, settings), settings, context, _DESCRIPTION)
    layers = read(tuned.model).layers()
    changed = []
    for name, kernel in kernels.items():
        zeros = int(kernel.size - np.count_nonzero(np.asarray(layers[name].kernel)))
        if zeros:
            changed.append(Change(name, f"{zeros} of {kernel.size} weights set to zero"))
    return StepOutcome(tuned.model, context.conversion, tuple(changed), skipped, (tuned.summary,))


def _at_once(model: Any, settings: PruneStep) -> Any:
    assert settings.scope is not None  # filled in by the recipe for this structure
    kernels, _ = prunable_kernels(model, BLOCKS[settings.block], settings.keep)
    return with_zeros(model, magnitude_masks(kernels, settings.sparsity, settings.scope, BLOCKS[settings.block]))


def _gradually(model: Any, settings: PruneStep, context: StepContext) -> FineTuned:
    assert settings.scope is not None  # filled in by the recipe for this structure
    assert settings.begin is not None  # and for this schedule
    assert settings.end is not None
    assert settings.rounds is not None
    batches = math.ceil(len(context.data.train) / context.objective.batch_size)
    steps = settings.epochs * batches // context.objective.batches_per_step
    begin = int(settings.begin * steps)
    end = max(begin + 1, int(settings.end * steps))
    pruning = GradualPruning(
        settings.sparsity,
        begin_step=begin,
        end_step=end,
        frequency=max(1, (end - begin) // settings.rounds),
        scope=settings.scope,
        block=settings.block,
        keep=settings.keep,
    )
    tuned = recover(
        model,
        settings,
        context,
        "Training and pruning the model",
        callbacks=[pruning],
        first_epoch=math.ceil(end * context.objective.batches_per_step / batches),
    )
    if tuned.best_epoch == 0:  # the loss was no number in any epoch of the pruned model: its weights are not pruned
        return FineTuned(_at_once(tuned.model, settings), tuned.history, 0, tuned.guided)
    return tuned


def with_zeros(model: Any, masks: Mapping[str, Mask]) -> Any:
    """Return a copy of the model in which the kernels' weights outside of the masks are zero."""
    copy = copy_of(model)
    layers = read(copy).layers()
    for name, mask in masks.items():
        layers[name].kernel.assign(np.asarray(layers[name].kernel) * mask)
    return copy
