"""Structured pruning: filters of convolutions and neurons of Dense layers are removed, wherever their channels go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Channels, Group, channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.importance import Scores, criterion_named
from edgepress.compression.pruning.keep import check_patterns, first_kept
from edgepress.compression.pruning.reconstruction import reconstruct
from edgepress.compression.pruning.schedule import rounds_of
from edgepress.compression.pruning.surgery import remove_channels
from edgepress.compression.recipe import PruneStep
from edgepress.compression.recovery import recover
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome, channel_multiple
from edgepress.training.batchnorm import reestimate_batchnorm
from edgepress.training.evaluate import loss_of

_SMALLEST_MULTIPLE = 4  # one SIMD register of float32; fewer filters than this are not worth removing

Counts = dict[str, dict[str, int]]
"""Kind (``filters``, ``units``, ``heads``) -> name of layer -> how many it has."""


def prune_channels(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Remove the filters or neurons of least importance, fit what read them, re-estimate BatchNorm and fine-tune.

    With ``schedule = "gradual"`` in rounds, each followed by fine-tuning, in which importance is taken anew.

    Raises:
        CompressionError: a pattern in ``keep`` names no layer, or a smaller model fails its proof.
    """
    whole = channels_of(read(model), rule_for)
    groups, skipped = removable_groups(whole, settings.structure, settings.keep)
    sizes = dict(zip(_keys(groups), (len(group.atoms) * group.width for group in groups), strict=True))
    before = counts_of(whole)
    largest_difference: float | None = None
    notes: list[str] = []
    too_small: tuple[Skip, ...] = ()
    epochs = 0
    for one in rounds_of(settings):
        epochs += one.epochs
        if one.sparsity:
            cut = _cut(model, settings, one.sparsity, sizes, context)
            model, too_small = cut.model, cut.skipped
            if cut.largest_difference is not None:
                largest_difference = max(cut.largest_difference, largest_difference or 0.0)
            notes += [f"{one.label}{note}" for note in cut.notes]
            if largest_difference is None:
                continue  # there is nothing to recover from yet: the next round has the epochs
        tuned = recover(model, settings, context, f"{one.label}Fine-tuning the pruned model", epochs=epochs)
        model, epochs = tuned.model, 0
        notes.append(f"{one.label}{tuned.summary}")
    changed, choices = changes_between(before, channels_of(read(model), rule_for))
    if largest_difference is None:
        notes.append(f"no {settings.structure[:-1]} was removed: see what was skipped and why")
    else:
        notes.append(f"same logits as with what was removed zeroed, to {largest_difference:.1e} of the largest")
    return StepOutcome(
        model,
        context.conversion,
        changed,
        (*skipped, *too_small),
        tuple(notes),
        choices={"round_to": _round_to(settings, context), **choices},
        largest_difference=largest_difference,
    )


@dataclass(frozen=True, eq=False)
class _Cut:
    """A model after one removal; ``largest_difference`` is None where nothing could be removed."""

    model: Any
    skipped: tuple[Skip, ...]
    largest_difference: float | None
    notes: tuple[str, ...]


_Key = tuple[tuple[str, ...], tuple[str, ...], int]


def _cut(model: Any, settings: PruneStep, sparsity: float, sizes: dict[_Key, int], context: StepContext) -> _Cut:
    """Remove channels until ``sparsity`` of those that the whole model had (``sizes``, by group) are gone.

    Atoms become narrower where a grouped convolution is left with one channel for each group: sizes are in channels.
    """
    assert settings.importance is not None  # filled in by the recipe for these structures
    channels = channels_of(read(model), rule_for)
    groups, _ = removable_groups(channels, settings.structure, settings.keep)
    score = criterion_named(settings.importance, channels, model, context.data, context.objective, context.seed)
    whole = [
        sizes[key] // group.width if key in sizes else len(group.atoms)
        for key, group in zip(_keys(groups), groups, strict=True)
    ]
    shares = _shares(groups, whole, score, sparsity, settings)
    removed, skipped = _choose(groups, score, shares, whole, _round_to(settings, context))
    if not len(removed):
        return _Cut(model, skipped, None, ())
    surgery = remove_channels(channels, removed, context.seed, context.data.train)
    notes = []
    if surgery.folded:
        notes.append(f"constants of removed channels are in the biases behind {', '.join(surgery.folded)}")
    pruned = surgery.model
    if settings.reconstruct:
        pruned, note = _fitted(pruned, channels, removed, context)
        notes.append(note)
    return _Cut(pruned, skipped, surgery.largest_difference, tuple(notes))


def _fitted(pruned: Any, channels: Channels, removed: NDArray[np.int64], context: StepContext) -> tuple[Any, str]:
    """Reconstruct what the pruned model's layers said; the model as it was where that makes validation worse."""
    train, val, seed = context.data.train, context.data.val, context.seed
    plain = reestimate_batchnorm(pruned, train, seed)
    fitted = reconstruct(channels, removed, pruned, train, seed)
    if not fitted:
        return plain, "no layer could be fitted to what the removed channels had said"
    better = reestimate_batchnorm(pruned, train, seed)
    losses = [loss_of(one, val, context.objective) for one in (plain, better)]
    said = f"validation loss {losses[1]:.4g} with {len(fitted)} layers fitted, {losses[0]:.4g} without"
    return (better, said) if losses[1] < losses[0] else (plain, f"{said}: left as they were")


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
    check_patterns(keep, channels.graph.layers())
    groups: list[Group] = []
    skipped: dict[str, Skip] = {}
    for group in channels.groups:
        if ("filters" in group.kinds) != (structure == "filters"):
            continue
        kept = first_kept(keep, group.producers)
        why = group.frozen or (f"keep leaves {kept} alone" if kept else None)
        if why is None:
            groups.append(group)
        else:
            skipped.update((name, Skip(name, why)) for name in group.producers)
    for name, layer in channels.graph.layers().items():
        if not channels.layers[name].weights and any(len(weight.shape) > 1 for weight in layer.weights):
            skipped[name] = Skip(name, f"there is no rule for the channels of {type(layer).__name__} layers like it")
    return groups, tuple(skipped.values())


def kept_count(count: int, sparsity: float, round_to: int) -> int:
    """Return how many channels stay: the multiple of ``round_to`` nearest to ``(1 - sparsity) * count``.

    Where that multiple would be none or all of them, a multiple of 4 is taken instead; kernels work on 4 or 8 channels
    at a time, and one channel more than a multiple costs as much as a whole one.
    """
    wanted = (1 - sparsity) * count
    smallest = min(round_to, _SMALLEST_MULTIPLE)
    for multiple in (round_to, smallest):
        kept = round(wanted / multiple) * multiple
        if 0 < kept < count:
            return kept
    return min(count, smallest) if wanted < smallest else count


def _round_to(settings: PruneStep, context: StepContext) -> int:
    return settings.round_to or channel_multiple(context.judge, context.conversion.format)


def strongest(group: Group, scores: Scores, count: int) -> NDArray[np.int64]:
    """Return the ``count`` atoms of the largest scores; the first of equal ones."""
    return group.atoms[np.sort(np.argsort(-scores, kind="stable")[:count])]


def _keys(groups: Sequence[Group]) -> list[_Key]:
    """What a group is known by after others of its channels went: its makers, and its place among those of the same."""
    seen: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    keys = []
    for group in groups:
        makers = (group.producers, group.kinds)
        keys.append((*makers, seen[makers]))
        seen[makers] += 1
    return keys


def _shares(
    groups: Sequence[Group],
    whole: Sequence[int],
    score: Callable[[Group], Scores],
    sparsity: float,
    settings: PruneStep,
) -> list[float]:
    """The share of its whole size that each group is to lose: the same in all (local), or by one threshold (global)."""
    if settings.scope == "local" or not groups:
        return [sparsity] * len(groups)
    scores = [score(group) for group in groups]
    together = np.concatenate(scores)
    stay = np.ones(len(together), bool)
    weakest = max(0, len(together) - sum(whole) + round(sparsity * sum(whole)))
    stay[np.argsort(together, kind="stable")[:weakest]] = False
    parts = np.split(stay, np.cumsum([len(part) for part in scores])[:-1])
    return [(size - int(part.sum())) / size for size, part in zip(whole, parts, strict=True)]


def _choose(
    groups: Sequence[Group],
    score: Callable[[Group], Scores],
    shares: Sequence[float],
    whole: Sequence[int],
    round_to: int,
) -> tuple[NDArray[np.int64], tuple[Skip, ...]]:
    """The atoms that go, and each layer that never lost one with the reason."""
    removed: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    skipped: list[Skip] = []
    for group, share, size in zip(groups, shares, whole, strict=True):
        kept = kept_count(size, share, group.multiple(round_to)) if share > 0 else size
        if kept < len(group.atoms):
            removed.append(np.setdiff1d(group.atoms, strongest(group, score(group), kept)))
        elif len(group.atoms) == size:
            why = (
                "all of its channels matter more than the others'"
                if share == 0
                else f"it has {size * group.width} {group.kinds[0]}, too few to remove {share:.0%} in multiples of "
                + (f"{round_to} or {_SMALLEST_MULTIPLE}" if round_to > _SMALLEST_MULTIPLE else f"{round_to}")
            )
            skipped.extend(Skip(name, why) for name in group.producers)
    return np.concatenate(removed), tuple(skipped)


def counts_of(channels: Channels) -> Counts:
    """Return how many channels of each kind every layer makes."""
    counts: Counts = {}
    for name, binding in channels.layers.items():
        for kind, labels in binding.makes.items():
            counts.setdefault(kind, {})[name] = len(labels)
    return counts


def changes_between(before: Counts, after: Channels) -> tuple[tuple[Change, ...], Counts]:
    """What was done to each layer that lost channels of its own, and how many it has left.

    A grouped convolution that is left with one input for each group makes none of its own any more.
    """
    makes = counts_of(after)
    changed: list[Change] = []
    left: Counts = {}
    for kind, layers in before.items():
        for name, count in layers.items():
            now = makes.get(kind, {}).get(name, len(after.layers[name].outputs[0]))
            if now < count:
                left.setdefault(kind, {})[name] = now
                changed.append(Change(name, f"{count} -> {now} {kind}"))
    return tuple(changed), left
