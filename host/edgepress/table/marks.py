"""Which rows are worth shipping: the Pareto front of accuracy, latency and size, and the best of each."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.table.result import Result

PARETO = "pareto"


def marks(rows: Sequence[Result]) -> dict[str, tuple[str, ...]]:
    """Return marks by row id for rows measured under the same conditions.

    ``pareto``: no other row is at least as good in metric, p50 and size and better in one of them. ``most accurate``
    (or ``best METRIC``), ``fastest``, ``smallest``: the best of each. Of repeated measurements the newest competes.
    Rows that cannot be believed do not: other verdicts than ``stable``, wrong outputs, and those of other tools.
    Without a metric only files of one model are alternatives. Under emulation latency does not count.
    """
    newest = {(row.model, row.recipe, row.model_sha256, row.training_seed): row for row in rows if _can_win(row)}
    rivals = list(newest.values())
    if len(rivals) < 2 or (rivals[0].metric is None and len({row.model for row in rivals}) > 1):
        return {}
    latency_counts = not any(row.emulated for row in rivals)
    points = {row.id: _losses(row, latency_counts) for row in rivals}
    found: dict[str, list[str]] = {
        row.id: [PARETO] if not any(_dominates(other, points[row.id]) for other in points.values()) else []
        for row in rivals
    }
    metric = rivals[0].metric
    titles = ["smallest"]
    if latency_counts:
        titles.insert(0, "fastest")
    if metric is not None:
        titles.insert(0, "most accurate" if metric == "accuracy" else f"best {metric}")
    for position, title in enumerate(titles):
        best = min(losses[position] for losses in points.values())
        winners = [row_id for row_id, losses in points.items() if losses[position] == best]
        if best < float("inf") and len(winners) < len(points):
            for row_id in winners:
                found[row_id].append(title)
    return {row_id: tuple(names) for row_id, names in found.items() if names}


def metric_value(row: Result) -> float | None:
    """The board's metric, or the host's where the board's is not known."""
    return row.metric_value_host if row.metric_value_board is None else row.metric_value_board


def _can_win(row: Result) -> bool:
    return row.verdict == "stable" and row.output_check != "wrong" and not row.is_foreign


def _losses(row: Result, latency_counts: bool) -> tuple[float, ...]:
    """What is better when smaller."""
    losses: list[float] = []
    if row.metric is not None:
        value = metric_value(row)
        losses.append(float("inf") if value is None else -value if row.metric_higher_is_better else value)
    if latency_counts:
        losses.append(row.latency_p50_ns)
    return (*losses, row.tflite_bytes)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
