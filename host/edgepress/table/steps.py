"""Steps in a series of measurements: a piecewise constant fit with a price for every piece.

As airspeed velocity does it (asv/step_detect.py): absolute deviations, which a single odd session cannot bend, weights
from the width of each point's interval, and the number of pieces k that minimizes

    ln(sigma_0 + sum w_i |y_i - mu| / n) + beta k ln(n) / n

(Yao 1988, "Estimating the number of change-points via Schwarz criterion", with asv's beta of 4 and its noise floor
sigma_0). asv looks for k along a path of penalties because its series are long; ours are short enough for the exact
fit of every k (Friedrich et al. 2008, "Complexity penalized M-estimation").
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MOST_PIECES = 12
_BETA = 4.0
_RELATIVE_NOISE = 0.001  # asv's guess of the least noise of a series with one piece


@dataclass(frozen=True)
class Piece:
    """Points ``start`` to ``stop`` (exclusive) lie around ``value``, their median."""

    start: int
    stop: int
    value: float


def find_pieces(
    values: Sequence[float], weights: Sequence[float] | None = None, least_step: float = 0.0
) -> list[Piece]:
    """Fit a piecewise constant function.

    Args:
        values: positive, in the order of time.
        weights: how much each counts; 1 when left out.
        least_step: pieces whose values differ by less (a fraction) from one to the next are one piece.

    Returns:
        the pieces, in order; none for no values.
    """
    count = len(values)
    if count == 0:
        return []
    y = np.asarray(values, float)
    w = np.ones(count) if weights is None else np.asarray(weights, float) / np.median(weights)
    costs = _costs(y, w)
    best = costs[0].copy()  # best[r]: cost of the first r + 1 points in the present number of pieces
    froms: list[NDArray[np.int64]] = []
    edges_of: list[list[int]] = [[0, count]]
    totals = [float(best[-1])]
    for pieces in range(2, min(MOST_PIECES, count) + 1):
        # candidates[l, r]: the last piece is l..r, the pieces before it end at l - 1
        candidates = np.full((count, count), np.inf)
        candidates[1:] = best[:-1, None] + costs[1:]
        froms.append(np.argmin(candidates, axis=0))
        best = np.min(candidates, axis=0)
        totals.append(float(best[-1]))
        edges_of.append(_edges(froms, pieces, count))
    floor = _RELATIVE_NOISE * float(np.median(np.abs(y)))
    scores = [
        np.log(floor + total / count) + _BETA * pieces * np.log(count) / count if count > 1 else 0.0
        for pieces, total in enumerate(totals, 1)
    ]
    edges = edges_of[int(np.argmin(scores))]
    pieces_found = [Piece(a, b, float(np.median(y[a:b]))) for a, b in pairwise(edges)]
    return _merged(pieces_found, y, least_step)


def _costs(y: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """costs[l, r]: weighted absolute deviation of points l..r from their median; infinite where r < l."""
    count = len(y)
    costs = np.full((count, count), np.inf)
    for left in range(count):
        below: list[tuple[float, float]] = []  # heap of (-value, weight): the lower half
        above: list[tuple[float, float]] = []
        weight_below = weight_above = sum_below = sum_above = 0.0
        for right in range(left, count):
            value, weight = float(y[right]), float(w[right])
            if below and value <= -below[0][0]:
                heapq.heappush(below, (-value, weight))
                weight_below, sum_below = weight_below + weight, sum_below + weight * value
            else:
                heapq.heappush(above, (value, weight))
                weight_above, sum_above = weight_above + weight, sum_above + weight * value
            while above and weight_below < weight_above:
                moved, its = heapq.heappop(above)
                heapq.heappush(below, (-moved, its))
                weight_above, sum_above = weight_above - its, sum_above - its * moved
                weight_below, sum_below = weight_below + its, sum_below + its * moved
            while below and weight_below - below[0][1] >= weight_above + below[0][1]:
                moved, its = -below[0][0], below[0][1]
                heapq.heappop(below)
                heapq.heappush(above, (moved, its))
                weight_below, sum_below = weight_below - its, sum_below - its * moved
                weight_above, sum_above = weight_above + its, sum_above + its * moved
            median = -below[0][0]
            costs[left, right] = max(0.0, weight_below * median - sum_below + sum_above - weight_above * median)
    return costs


def _edges(froms: Sequence[NDArray[np.int64]], pieces: int, count: int) -> list[int]:
    edges = [count]
    for choice in reversed(froms[: pieces - 1]):
        edges.append(int(choice[edges[-1] - 1]))
    return [0, *reversed(edges)]


def _merged(pieces: list[Piece], y: NDArray[np.float64], least_step: float) -> list[Piece]:
    """Put neighbours together that differ by less than a step must, the most alike first."""
    while len(pieces) > 1:
        steps = [abs(b.value / a.value - 1) for a, b in pairwise(pieces)]
        smallest = int(np.argmin(steps))
        if steps[smallest] >= least_step:
            break
        a, b = pieces[smallest], pieces[smallest + 1]
        pieces[smallest : smallest + 2] = [Piece(a.start, b.stop, float(np.median(y[a.start : b.stop])))]
    return pieces
