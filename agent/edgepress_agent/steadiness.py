"""Has warm-up ended? A test on the trace of its durations."""

from __future__ import annotations

from math import sqrt
from typing import Sequence

MIN_RUNS = 16  # four per quarter: the notches of fewer are so wide that everything is steady
RELATIVE_TOLERANCE = 0.01
SAMPLED_RUNS = 400  # of each quarter at most: the test itself must not become a pause

# Two medians differ where their notches do not overlap: 1.57 times the interquartile range over the root of the number
# (McGill, Tukey and Larsen 1978, "Variations of Box Plots").
_NOTCH = 1.57


def is_steady(durations_ns: Sequence[int]) -> bool:
    """Whether the second half of a trace is level: its two quarters have the same median, within 1 % or their notches.

    The first half is what is thrown away if it is steady now, so at least half of a trace is always level (the rule of
    a last segment that holds half of the samples and has no slope, without a search for change points).
    """
    count = len(durations_ns)
    if count < MIN_RUNS:
        return False
    earlier = _thinned(durations_ns[count // 2 : count * 3 // 4])
    later = _thinned(durations_ns[count * 3 // 4 :])
    difference = abs(_quantile(later, 0.5) - _quantile(earlier, 0.5))
    return difference <= max(RELATIVE_TOLERANCE * _quantile(later, 0.5), _notch(earlier) + _notch(later))


def _notch(ordered: Sequence[int]) -> float:
    return _NOTCH * (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / sqrt(len(ordered))


def _thinned(durations: Sequence[int]) -> Sequence[int]:
    step = max(1, len(durations) // SAMPLED_RUNS)
    return sorted(durations[::step])


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
