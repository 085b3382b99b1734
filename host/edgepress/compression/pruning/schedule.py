"""When how much is pruned: all at once, or in rounds between which the model trains."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress.compression.recipe import PruneStep


@dataclass(frozen=True)
class Round:
    """Prune up to ``sparsity`` (of the whole model), then train for ``epochs``; ``label`` tells rounds apart."""

    sparsity: float
    epochs: int
    label: str = ""


def cubic(sparsity: float, progress: float) -> float:
    """Return how much is pruned when ``progress`` (0 to 1) of the way to ``sparsity`` is gone.

    Much at first, while there is much that matters little, and less and less then (Zhu and Gupta 2017, "To prune, or
    not to prune: exploring the efficacy of pruning for model compression").
    """
    return float(sparsity * (1 - (1 - min(1.0, max(0.0, progress))) ** 3))


def rounds_of(settings: PruneStep) -> tuple[Round, ...]:
    """Return the rounds of a step: the first at ``begin``, the last at ``end``, and the rest of the epochs after it.

    Where ``begin`` is later than the beginning, a round of sparsity 0 comes before them.
    """
    if settings.schedule == "one-shot":
        return (Round(settings.sparsity, settings.epochs),)
    assert settings.rounds is not None  # filled in by the recipe for this schedule
    starts = settings.round_starts
    rounds = [Round(0.0, starts[0], "before pruning: ")] if starts[0] else []
    for number, (start, until) in enumerate(zip(starts, [*starts[1:], settings.epochs], strict=True), start=1):
        sparsity = cubic(settings.sparsity, number / settings.rounds)
        label = f"round {number} of {settings.rounds}, {sparsity:.0%}: "
        rounds.append(Round(sparsity, until - start, label))
    return tuple(rounds)
