"""One model on one device over time: the series, its steps, and what changed at each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgepress.benchmarking.floor import noise_floor
from edgepress.table.marks import metric_value
from edgepress.table.result import Result
from edgepress.table.steps import find_pieces

MOST_POINTS = 300  # of a series, the newest: the exact fit takes quadratic time
_LEAST_RANGE = 0.1  # of a row of bars: noise of 1 % should not look like mountains
_BARS = "▁▂▃▄▅▆▇█"
# What a series is made of: other boards, threads or recipes are other series, a newer runtime is a point of this one.
SERIES_BY = ("model", "recipe", "device", "physical_device", "runtime", "delegate", "threads", "emulated", "origin")
# What may have moved a series, named when it differs between the points around a step.
CAUSES = (
    "project_commit",
    "runtime_version",
    "kernel",
    "governor",
    "os",
    "plan",
    "recipe_id",
    "model_sha256",
    "agent_version",
)


@dataclass(frozen=True)
class Step:
    """A change of level that exceeds the board's noise floor.

    Attributes:
        at: the first row of the new level.
        ratio: new level over old, of the p50.
        changed: fields that differ between the rows around it, with both values.
    """

    at: Result
    ratio: float
    changed: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True)
class Series:
    """Rows of one model on one device, oldest first, and the steps in their p50."""

    rows: tuple[Result, ...]
    levels: tuple[tuple[int, int, float], ...]
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """For people."""
        row = self.rows[-1]
        threads = "" if row.threads == 1 else f" · {row.threads} threads"
        return f"{row.model} · {row.recipe or 'as it came'} · {row.device} · {row.runtime}{threads}"

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **{name: getattr(self.rows[-1], name) for name in SERIES_BY},
            "points": [
                {
                    "id": row.id,
                    "created_at": row.created_at.isoformat(timespec="seconds"),
                    "latency_p50_ns": row.latency_p50_ns,
                    "metric_value": metric_value(row),
                    "verdict": row.verdict,
                }
                for row in self.rows
            ],
            "steps": [
                {
                    "id": step.at.id,
                    "ratio": step.ratio,
                    "changed": {name: [old, new] for name, old, new in step.changed},
                }
                for step in self.steps
            ],
        }


def histories(rows: Iterable[Result]) -> tuple[Series, ...]:
    """Put rows into series and find their steps; the series with the newest row comes last."""
    by_key: dict[tuple[Any, ...], list[Result]] = {}
    for row in sorted(rows, key=lambda row: row.created_unix_ns):
        by_key.setdefault(tuple(getattr(row, name) for name in SERIES_BY), []).append(row)
    series = [_series(points[-MOST_POINTS:]) for points in by_key.values()]
    return tuple(sorted(series, key=lambda one: one.rows[-1].created_unix_ns))


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Bars for values, the last ``width`` of them; the highest bar is the largest value, or 10 % above the smallest."""
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    high = max(high, low * (1 + _LEAST_RANGE)) or 1.0
    return "".join(_BARS[min(int((value - low) / (high - low) * len(_BARS)), len(_BARS) - 1)] for value in shown)


def _series(rows: Sequence[Result]) -> Series:
    values = [max(row.latency_p50_ns, 1) for row in rows]
    floor = noise_floor(rows[-1].device, rows[-1].physical_device)
    pieces = find_pieces(values, [_weight(row) for row in rows], floor)
    levels = [piece for piece in pieces if piece.stop - piece.start > 1]  # one odd session is no level
    steps = tuple(
        Step(rows[b.start], b.value / a.value, _changed(rows[a.stop - 1], rows[b.start]))
        for a, b in pairwise(levels)
        if abs(b.value / a.value - 1) >= floor
    )
    return Series(tuple(rows), tuple((p.start, p.stop, p.value) for p in pieces), steps)


def _weight(row: Result) -> float:
    """The inverse of the interval's width, at most that of an interval of 1 %."""
    low, high = row.latency_p50_low_ns, row.latency_p50_high_ns
    if low is None or high is None or not row.latency_p50_ns:
        return 1.0
    return 0.01 / max((high - low) / row.latency_p50_ns, 0.01)


def _changed(before: Result, after: Result) -> tuple[tuple[str, Any, Any], ...]:
    return tuple(
        (name, getattr(before, name), getattr(after, name))
        for name in CAUSES
        if getattr(before, name) != getattr(after, name)
    )
