"""A picture of where a model's time goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.errors import MissingPackageError, ModelError

if TYPE_CHECKING:
    from edgepress.benchmarking.operators import OperatorProfile

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_OTHERS = "#6b7280"


def draw_bars(profile: OperatorProfile, file: Path) -> None:
    """Draw the operators as bars, in the order in which they run; kinds have colours, the costliest first.

    Raises:
        MissingPackageError: without the extra ``edgepress[report]``.
        ModelError: the file cannot be written, or its ending says no kind of picture.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"a picture needs {error.name}; install it with: pip install 'edgepress[report]'"
        ) from error
    totals: dict[str, int] = {}
    for operator in profile.operators:
        totals[operator.kind] = totals.get(operator.kind, 0) + (operator.time_ns or 0)
    ranked = sorted(totals, key=lambda kind: -totals[kind])
    colours = dict(zip(ranked, _COLOURS, strict=False))
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    axes: Any = figure.add_subplot()
    for kind in ranked:
        ours = [operator for operator in profile.operators if operator.kind == kind]
        label = f"{kind} {totals[kind] / max(1, profile.sum_ns):.0%}" if kind in colours else None
        axes.bar(
            [operator.index for operator in ours],
            [(operator.time_ns or 0) / 1000 for operator in ours],
            color=colours.get(kind, _OTHERS),
            label=label,
        )
    axes.set_xlabel("operator, in the order of execution")
    axes.set_ylabel("time alone, µs")
    axes.set_title(f"{profile.model} on {profile.device}: operators miss the whole by {profile.miss:+.0%}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    try:
        figure.savefig(file, dpi=200)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be drawn: {error}") from error
