"""The distribution-free interval of a median: the stop rule of adaptive plans, the same on board and host."""

from __future__ import annotations

from math import comb
from typing import Optional, Sequence, Tuple

CONFIDENCE = 0.95


def median_interval(values: Sequence[int], confidence: float = CONFIDENCE) -> Optional[Tuple[int, int]]:
    """Return two of the values between which the median of their distribution lies with at least that confidence.

    By order statistics (David and Nagaraja 2003, "Order Statistics", section 7.1): nothing is assumed of the
    distribution, so that two modes do no harm. None below six values at 95 %.
    """
    ordered = sorted(values)
    count = len(ordered)
    rank = _lower_rank(count, confidence)
    return None if rank == 0 else (ordered[rank - 1], ordered[count - rank])


def half_width(values: Sequence[int], confidence: float = CONFIDENCE) -> Optional[float]:
    """Return the longer side of the median's interval as a fraction of the median; None for too few values."""
    interval = median_interval(values, confidence)
    if interval is None:
        return None
    middle = sorted(values)[(len(values) - 1) // 2]
    return max(interval[1] - middle, middle - interval[0]) / middle


def _lower_rank(count: int, confidence: float) -> int:
    """The largest rank whose interval has the confidence: twice the binomial tail below it is at most the rest."""
    allowed = (1 - confidence) / 2 * 2**count
    rank, tail = 0, 0
    while tail + comb(count, rank) <= allowed and rank < count // 2:
        tail += comb(count, rank)
        rank += 1
    return rank
