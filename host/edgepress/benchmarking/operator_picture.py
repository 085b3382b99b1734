"""A picture of where a model's time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.bar_picture import COLOURS, GREY, bar_picture

if TYPE_CHECKING:
    from edgepress.benchmarking.operators import OperatorProfile


def draw_bars(profile: OperatorProfile, file: Path) -> None:
    """Draw the operators as bars, in the order in which they run; kinds have colours, the costliest first.

    Raises:
        MissingPackageError, ModelError: as :func:`edgepress.bar_picture.bar_picture`.
    """
    totals: dict[str, int] = {}
    for operator in profile.operators:
        totals[operator.kind] = totals.get(operator.kind, 0) + (operator.time_ns or 0)
    ranked = sorted(totals, key=lambda kind: -totals[kind])
    colours = dict(zip(ranked, COLOURS, strict=False))
    title = f"{profile.model} on {profile.device}: operators miss the whole by {profile.miss:+.0%}"
    with bar_picture(file, title, height_inches=3.2) as axes:
        for kind in ranked:
            ours = [operator for operator in profile.operators if operator.kind == kind]
            label = f"{kind} {totals[kind] / max(1, profile.sum_ns):.0%}" if kind in colours else None
            axes.bar(
                [operator.index for operator in ours],
                [(operator.time_ns or 0) / 1000 for operator in ours],
                color=colours.get(kind, GREY),
                label=label,
            )
        axes.set_xlabel("operator, in the order of execution")
        axes.set_ylabel("time alone, µs")
