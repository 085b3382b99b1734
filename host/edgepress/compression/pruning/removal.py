"""Structured pruning: filters of convolutions and neurons of Dense layers are removed, wherever their channels go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Channels, Group, channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.importance import Scores, criterion_named
from edgepress.compression.pruning.surgery import remove_channels
from edgepress.compression.recipe import PruneStep
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.errors import CompressionError
from edgepress.training.batchnorm import reestimate_batchnorm
from edgepress.training.fit import fine_tune

_SMALLEST_MULTIPLE = 4  # one SIMD register of float32; fewer filters than this are not worth removing


def prune_channels(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Remove the filters or neurons of least importance, re-estimate BatchNorm and fine-tune.

    Raises:
        CompressionError: a pattern in ``keep`` names no layer, or the smaller model fails its proof.
    """
    assert settings.importance is not None  # filled in by the recipe for these structures
    channels = channels_of(read(model), rule_for)
    groups, skipped = removable_groups(channels, settings.structure, settings.keep)
    score = criterion_named(settings.importance, channels, model, context.data, context.objective)
    shares = _shares(groups, score, settings)
    removed, too_small = _choose(groups, score, shares, settings)
    surgery = remove_channels(channels, removed, context.seed)
    changed, counts = _changes(channels, removed)
    pruned = reestimate_batchnorm(surgery.model, context.data.train, context.seed)
    tuned = fine_tune(
        pruned,
        context.data,
        context.objective,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=context.seed,
        progress=context.progress,
        description="Fine-tuning the pruned model",
    )
    notes = [tuned.summary]
    if not changed:
        notes.append(f"no {settings.structure[:-1]} was removed: see what was skipped and why")
    else:
        notes.append(f"same logits as with what was removed zeroed, to {surgery.largest_difference:.1e} of the largest")
    if surgery.folded:
        notes.append(f"constants of removed channels are in the biases behind {', '.join(surgery.folded)}")
    return StepOutcome(
        tuned.model,
        context.conversion,
        changed,
        (*skipped, *too_small),
        tuple(notes),
        choices=counts,
        largest_difference=surgery.largest_difference if changed else None,
    )


def removable_groups(
    channels: Channels, structure: str, keep: Sequence[str] = ()
) -> tuple[list[Group], tuple[Skip, ...]]:
    """Return the groups of a structure that may lose channels, and each other layer of it with the reason.

    Args:
        structure: ``filters``: groups that a convolution has a part in; ``neurons``: all others (units, heads).
        keep: patterns of names of layers (``*`` and ``?``) whose channels all stay.

    Raises:
        CompressionError: a pattern names no layer.
    """
    layers = channels.graph.layers()
    for pattern in keep:
        if not any(fnmatch(name, pattern) for name in layers):
            raise CompressionError(f"keep: no layer is named {pattern!r}; the model's layers are {', '.join(layers)}")
    groups: list[Group] = []
    skipped: dict[str, Skip] = {}
    for group in channels.groups:
        if ("filters" in group.kinds) != (structure == "filters"):
            continue
        kept = [name for name in group.producers if any(fnmatch(name, pattern) for pattern in keep)]
        why = group.frozen or (f"keep leaves {kept[0]} alone" if kept else None)
        if why is None:
            groups.append(group)
        else:
            skipped.update((name, Skip(name, why)) for name in group.producers)
    return groups, tuple(skipped.values())


def kept_count(count: int, sparsity: float, round_to: int) -> int:
    """Return how many channels stay: the multiple of ``round_to`` nearest to ``(1 - sparsity) * count``.

    Where that multiple would be none or all of them, a multiple of 4 is taken instead; kernels work on 4 or 8 channels
    at a time, and one channel more than a multiple costs as much as a whole one.
    """
    wanted = (1 - sparsity) * count
    for multiple in (round_to, _SMALLEST_MULTIPLE):
        kept = round(wanted / multiple) * multiple
        if 0 < kept < count:
            return kept
    return min(count, _SMALLEST_MULTIPLE) if wanted < _SMALLEST_MULTIPLE else count


def strongest(group: Group, scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the ``count`` atoms of the largest scores; the first of equal ones."""
    return group.atoms[np.sort(np.argsort(-scores, kind="stable")[:count])]


def _shares(groups: Sequence[Group], score: Callable[[Group], Scores], settings: PruneStep) -> list[float]:
    """The share that each group loses: the same in all (local), or what one threshold for all of them says (global)."""
    if settings.scope == "local" or not groups:
        return [settings.sparsity] * len(groups)
    scores = [score(group) for group in groups]
    together = np.concatenate(scores)
    weakest = np.zeros(len(together), bool)
    weakest[np.argsort(together, kind="stable")[: round(settings.sparsity * len(together))]] = True
    parts = np.split(weakest, np.cumsum([len(part) for part in scores])[:-1])
    return [float(part.mean()) for part in parts]


def _choose(
    groups: Sequence[Group],
    score: Callable[[Group], Scores],
    shares: Sequence[float],
    settings: PruneStep,
) -> tuple[NDArray[np.int64], tuple[Skip, ...]]:
    removed: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    skipped: list[Skip] = []
    assert settings.round_to is not None
    for group, share in zip(groups, shares, strict=True):
        count = len(group.atoms)
        kept = kept_count(count, share, settings.round_to) if share > 0 else count
        if kept == count:
            why = (
                "all of its channels matter more than the others'"
                if share == 0
                else f"it has {count} {group.kinds[0]}, too few to remove {share:.0%} in multiples of "
                f"{settings.round_to} or 4"
            )
            skipped.extend(Skip(name, why) for name in group.producers)
            continue
        removed.append(np.setdiff1d(group.atoms, strongest(group, score(group), kept)))
    return np.concatenate(removed), tuple(skipped)


def _changes(channels: Channels, removed: NDArray[np.int64]) -> tuple[tuple[Change, ...], dict[str, dict[str, int]]]:
    """What was done to each layer that lost channels of its own, and how many it has left, by kind and name."""
    alive = channels.alive(removed)
    changed: list[Change] = []
    counts: dict[str, dict[str, int]] = {}
    for name, binding in channels.layers.items():
        for kind, labels in binding.makes.items():
            left = int(alive[labels].sum())
            if left < len(labels):
                counts.setdefault(kind, {})[name] = left
                changed.append(Change(name, f"{len(labels)} -> {left} {kind}"))
    return tuple(changed), counts
