"""Is B slower than A? Measured against each other in one session, and claimed only where it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edgepress.benchmarking.interference import samples_by_round
from edgepress.benchmarking.statistics import Ratio, paired_ratio
from edgepress.errors import JobError

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BoardState, RunReport

# MLPerf's audit guidelines call results that differ by 2 % materially different: less is not worth a word.
MATERIAL = 0.02
FLOORS = 2
LEAST_ROUNDS = 10
"""A comparison takes at least so many rounds: an interval over five promises more than it keeps."""


class Claim(StrEnum):
    """What a comparison says of B."""

    SLOWER = "slower"
    FASTER = "faster"
    NONE = "no difference shown"
    WITHHELD = "no claim: a row is not stable"
    EMULATED = "no claim: the board is emulated"


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        ratio: median of B over that of A, with its 95 % interval over rounds.
        threshold: by how much the ratio must differ from 1 to be claimed: 2 %, or twice the device's floor.
        floor: by how much two measurements of the same file differ there in one session; None: never calibrated.
        claim: made only if the interval excludes 1, the effect exceeds the threshold, and nothing speaks against it.
    """

    ratio: Ratio
    threshold: float
    floor: float | None
    claim: Claim


def compare_runs(
    a: RunReport,
    b: RunReport,
    floor: float | None,
    states: Sequence[BoardState] = (),
    max_hz: int | None = None,
    *,
    doubt: Claim | None = None,
) -> Comparison:
    """Compare two runs of one session, process by process.

    Args:
        floor: of the device: by how much the same file differs from itself there in one session. None: not calibrated.
        states, max_hz: of the session, as for :func:`edgepress.benchmarking.interference.find_interference`.
        doubt: what is said instead of a claim; None: nothing speaks against one. Where a row is not stable, a
            disturbance need not have hit both alike, so what the others show is no ground for a claim.

    Raises:
        JobError: they have fewer than two rounds in common.
    """
    first, second = (samples_by_round(run, states, max_hz) for run in (a, b))
    rounds = sorted(first.keys() & second.keys())
    if len(rounds) < 2:
        raise JobError(f"a comparison needs two rounds in which both ran; there are {len(rounds)}")
    ratio = paired_ratio([second[index] for index in rounds], [first[index] for index in rounds])
    return judge_ratio(ratio, floor, doubt=doubt)


def judge_ratio(ratio: Ratio, floor: float | None, *, doubt: Claim | None = None) -> Comparison:
    """Say what a ratio with its interval proves on a device with this floor; the arguments of :func:`compare_runs`."""
    threshold = threshold_of(floor)
    claim = Claim.NONE
    if ratio.low > 1 and ratio.value - 1 > threshold:
        claim = Claim.SLOWER
    elif ratio.high < 1 and 1 - ratio.value > threshold:
        claim = Claim.FASTER
    if claim is not Claim.NONE and doubt is not None:
        claim = doubt
    return Comparison(ratio, threshold, floor, claim)


def threshold_of(floor: float | None) -> float:
    """Return by how much a ratio inside a session must differ from 1 on a device with this floor."""
    return max(MATERIAL, FLOORS * (floor or 0.0))
