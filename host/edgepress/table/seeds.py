"""Repetitions with other training seeds, folded into one line: mean and interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from edgepress.table.result import Result

_GRAVEST_LAST = ("stable", "unstable", "throttled", "implausible")
_WORST_LAST = (None, "identical", "within tolerance", "as good", "wrong")
# Student's t, two-sided 95 %, for 1 to 10 degrees of freedom.
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Line:
    """What a table shows in one line: a row, or the mean over the rows of several seeds in the form of one.

    Of a folded line ``row`` holds means; the intervals of its metric and its p50 are Student's over the seeds: they say
    how much another seed would change, which the intervals of single rows do not.
    """

    row: Result
    seeds: int


def fold_seeds(rows: Iterable[Result]) -> tuple[Line, ...]:
    """Fold rows of one group that differ in the training seed only; of each seed the newest row counts.

    Another Keras model of the same name is another family. Recipes with one seed keep all of their rows, each in a line
    of its own. What a recipe comes to (``recipe_id``) may depend on the seed, as ranks and repairs do.
    """
    families: dict[tuple[object, ...], list[Result]] = {}
    for row in rows:
        families.setdefault((row.model, row.source_sha256, row.recipe, row.plan_sha256), []).append(row)
    lines: list[Line] = []
    for family in families.values():
        newest = {row.training_seed: row for row in family}
        if len(newest) > 1 and family[0].recipe is not None and None not in newest:
            lines.append(_folded(list(newest.values())))
        else:
            lines += single_lines(family)
    return tuple(sorted(lines, key=lambda line: (line.row.created_unix_ns, line.row.session, line.row.position)))


def single_lines(rows: Iterable[Result]) -> tuple[Line, ...]:
    """One line for each row."""
    return tuple(Line(row, 1) for row in rows)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with the bounds of its 95 % interval (Student's t); two values or more."""
    mean, count = fmean(values), len(values)
    half = _t_975(count - 1) * stdev(values) / math.sqrt(count)
    return mean, mean - half, mean + half


def _t_975(degrees: int) -> float:
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z = NormalDist().inv_cdf(0.975)
    # The first terms of Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5): right to 0.1 % from here on.
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def _folded(rows: list[Result]) -> Line:
    latency, low, high = mean_interval([row.latency_p50_ns for row in rows])
    changes: dict[str, object] = {
        "latency_p50_ns": round(latency),
        "latency_p50_low_ns": round(low),
        "latency_p50_high_ns": round(high),
        "tflite_bytes": round(fmean(row.tflite_bytes for row in rows)),
        "peak_rss_bytes": _mean_or_none([row.peak_rss_bytes for row in rows]),
        "latency_p95_ns": _mean_or_none([row.latency_p95_ns for row in rows]),
        "verdict": max((row.verdict for row in rows), key=_gravity),
        "output_check": max((row.output_check for row in rows), key=_WORST_LAST.index)
        if all(row.output_check in _WORST_LAST for row in rows)
        else "differs",
        "warnings": tuple(warning for row in rows for warning in row.warnings),
    }
    for place in ("host", "board"):
        values = [v for v in (getattr(row, f"metric_value_{place}") for row in rows) if v is not None]
        if len(values) == len(rows):
            mean, low, high = mean_interval(values)
            changes |= {f"metric_value_{place}": mean, f"metric_low_{place}": low, f"metric_high_{place}": high}
        else:
            changes |= dict.fromkeys((f"metric_value_{place}", f"metric_low_{place}", f"metric_high_{place}"))
    return Line(dataclasses.replace(rows[-1], **changes), len(rows))  # type: ignore[arg-type]


def _gravity(verdict: str) -> int:
    return _GRAVEST_LAST.index(verdict) if verdict in _GRAVEST_LAST else len(_GRAVEST_LAST)


def _mean_or_none(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(fmean(known)) if len(known) == len(values) else None
