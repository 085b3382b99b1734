"""What raw samples say about latency.

Two rules run through this module. A quantile is always a value that was measured (the inverse of the empirical
distribution, Hyndman and Fan 1996, definition 1), so that a stored row can be derived again bit for bit. And the unit
of repetition is the process, not the inference: layout and placement are drawn once per process, inferences inside one
are far more alike than their number suggests (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time").
Intervals are therefore bootstrapped over processes (Davison and Hinkley 1997, section 3.8). With few processes they are
too narrow: where processes differ by 3 %, a "95 %" interval covers 76 % with three processes, 90 % with five, 94 %
with twenty (tests/unit/benchmarking/test_statistics.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepress.benchmarking.interference import Interference, find_interference, kept_samples

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BoardState, ProcessRun, RunReport

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 2000

# A percentile is stated only when so many samples were taken that one sample above it still leaves 99 % confidence
# (MLPerf Inference rules, appendix "Early Stopping Criterion", with d = 0, c = 0.99, t = 1).
MIN_SAMPLES = {90: 64, 95: 130, 99: 662}

MODE_GAP = 0.05
OUTLIER_SCORE = 14.826
LEAST_OUTLIER = 0.05  # of the median
RETENTION_EDGE_NS = 30_000_000_000
RETENTION_LEAST_NS = 120_000_000_000


@dataclass(frozen=True)
class LatencySummary:
    """Latency of one configuration in steady state. Intervals hold 95 %; None: not enough samples or processes.

    Attributes:
        samples, processes: how many inferences were timed, in how many worker processes.
        p50_ns: median of all samples; ``p50_low_ns`` and ``p50_high_ns`` bound it.
        p90_ns, p95_ns, p99_ns: percentiles of all samples.
        process_medians_ns: the median of each process, in the order they ran: two clusters mean a bimodal machine.
        process_spread: coefficient of variation of these medians.
        drift: relative change from the first third of a process's samples to the last (median over processes).
        modes: clusters of the processes, the fastest first; one where they are alike.
        outliers: samples far from their process's median (flagged, never deleted).
        retention: speed in the last 30 s of load over that in the first 30 s; None for less than two minutes.
    """

    samples: int
    processes: int
    p50_ns: int
    p50_low_ns: int | None
    p50_high_ns: int | None
    p90_ns: int | None
    p95_ns: int | None
    p95_low_ns: int | None
    p95_high_ns: int | None
    p99_ns: int | None
    min_ns: int
    max_ns: int
    process_medians_ns: tuple[int, ...]
    process_spread: float | None
    drift: float | None
    modes: tuple[Mode, ...] = ()
    outliers: int = 0
    retention: float | None = None


@dataclass(frozen=True)
class Mode:
    """Processes that are alike: the median of their medians, and which share of all processes they are."""

    median_ns: int
    share: float


@dataclass(frozen=True)
class Ratio:
    """A quotient of two medians with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def summarize(report: RunReport, seed: int = 0, interference: Interference | None = None) -> LatencySummary:
    """Summarize the processes of a run that finished, without the blocks that interference leaves out.

    Raises:
        ValueError: there is no sample.
    """
    seen = find_interference(report) if interference is None else interference
    kept = kept_samples(report, seen)
    ordered = sorted(zip(report.processes, kept, strict=True), key=lambda pair: pair[0].order)
    processes = [samples for _, samples in ordered if samples]
    if not processes:
        raise ValueError("a run without samples has no latency")
    by_process = _sorted_samples(processes)
    pooled = np.sort(np.concatenate(by_process))
    p50_low, p50_high = _interval(by_process, 50, seed)
    p95 = _percentile_if_enough(pooled, 95)
    p95_low, p95_high = _interval(by_process, 95, seed) if p95 is not None else (None, None)
    medians = tuple(percentile(samples, 50) for samples in by_process)
    return LatencySummary(
        samples=len(pooled),
        processes=len(processes),
        p50_ns=percentile(pooled, 50),
        p50_low_ns=p50_low,
        p50_high_ns=p50_high,
        p90_ns=_percentile_if_enough(pooled, 90),
        p95_ns=p95,
        p95_low_ns=p95_low,
        p95_high_ns=p95_high,
        p99_ns=_percentile_if_enough(pooled, 99),
        min_ns=int(pooled[0]),
        max_ns=int(pooled[-1]),
        process_medians_ns=medians,
        process_spread=_spread(medians),
        drift=_drift(processes),
        modes=find_modes(medians),
        outliers=sum(_outliers(samples) for samples in by_process),
        retention=_retention([run for run, _ in ordered]),
    )


def find_modes(medians: Sequence[int]) -> tuple[Mode, ...]:
    """Split process medians where two neighbours in size differ by more than 5 %: the fastest cluster first."""
    clusters: list[list[int]] = []
    for median in sorted(medians):
        if clusters and median <= (1 + MODE_GAP) * clusters[-1][-1]:
            clusters[-1].append(median)
        else:
            clusters.append([median])
    return tuple(Mode(cluster[(len(cluster) - 1) // 2], len(cluster) / len(medians)) for cluster in clusters)


def percentile(samples: NDArray[np.int64], percent: int) -> int:
    """Return the smallest sample that at least ``percent`` % of the samples do not exceed.

    Args:
        samples: (n,) int64, sorted, n >= 1.
        percent: 1 to 100; whole, so that the rank is exact.
    """
    return int(samples[-(-percent * len(samples) // 100) - 1])


def paired_ratio(numerator: Sequence[Sequence[int]], denominator: Sequence[Sequence[int]], seed: int = 0) -> Ratio:
    """Return the quotient of two medians measured in one session, with its interval.

    Process ``i`` of both ran next to each other, so what changed slowly on the machine hit both: rounds are drawn
    together, not processes singly.

    Args:
        numerator, denominator: the samples (ns) of each process, in the order of their rounds; the same number of
            processes in both, two or more.

    Raises:
        ValueError: the numbers differ, or there are fewer than two rounds.
    """
    if len(numerator) != len(denominator) or len(numerator) < 2:
        raise ValueError(
            f"a paired ratio takes the same number of processes, two or more; got {len(numerator)} and "
            f"{len(denominator)}"
        )
    above, below = _sorted_samples(numerator), _sorted_samples(denominator)
    draws = _draws(len(above), seed)
    ratios = _drawn_percentiles(above, draws, 50) / _drawn_percentiles(below, draws, 50)
    low, high = np.quantile(ratios, _tails())
    value = percentile(np.sort(np.concatenate(above)), 50) / percentile(np.sort(np.concatenate(below)), 50)
    return Ratio(value, float(low), float(high))


def independent_ratio(numerator: Sequence[Sequence[int]], denominator: Sequence[Sequence[int]], seed: int = 0) -> Ratio:
    """Return the quotient of two medians measured apart from each other: processes of both are drawn singly.

    The interval holds what processes of one session vary by, not what sessions differ by.

    Args:
        numerator, denominator: the samples (ns) of each process; two processes or more in both.

    Raises:
        ValueError: one side has fewer than two processes.
    """
    if len(numerator) < 2 or len(denominator) < 2:
        raise ValueError(f"a ratio takes two processes or more; got {len(numerator)} and {len(denominator)}")
    above, below = _sorted_samples(numerator), _sorted_samples(denominator)
    ratios = _drawn_percentiles(above, _draws(len(above), seed), 50) / _drawn_percentiles(
        below, _draws(len(below), seed + 1), 50
    )
    low, high = np.quantile(ratios, _tails())
    value = percentile(np.sort(np.concatenate(above)), 50) / percentile(np.sort(np.concatenate(below)), 50)
    return Ratio(value, float(low), float(high))


def _sorted_samples(by_process: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    return [np.sort(np.asarray(samples, np.int64)) for samples in by_process]


def headline_ns(report: RunReport, states: Sequence[BoardState], max_hz: int | None) -> int:
    """Return the median that the row of a run states; the arguments of
    :func:`edgepress.benchmarking.interference.find_interference`."""
    return summarize(report, interference=find_interference(report, states, max_hz)).p50_ns


def whiskers(pooled: NDArray[np.int64]) -> tuple[float, float]:
    """Return p5 and p95 of samples for a picture; of fewer than tell these, the quartiles, where boxes end."""
    ends = (0.05, 0.95) if len(pooled) >= MIN_SAMPLES[95] else (0.25, 0.75)
    low, high = np.quantile(pooled, ends, method="inverted_cdf").tolist()
    return low, high


def _percentile_if_enough(pooled: NDArray[np.int64], percent: int) -> int | None:
    return percentile(pooled, percent) if len(pooled) >= MIN_SAMPLES[percent] else None


def _spread(medians: Sequence[int]) -> float | None:
    mean = np.mean(medians)
    if len(medians) < 2 or mean <= 0:  # a clock that stands still
        return None
    return float(np.std(medians, ddof=1) / mean)


def _drift(processes: Sequence[Sequence[int]]) -> float | None:
    changes = []
    for samples in processes:
        third = len(samples) // 3
        first = np.median(samples[:third]) if third else 0
        if first > 0:
            changes.append(np.median(samples[-third:]) / first - 1)
    return float(np.median(changes)) if changes else None


def _outliers(samples: NDArray[np.int64]) -> int:
    """How many samples of a process have a modified z-score above 14.826 (hyperfine's limit; Iglewicz and Hoaglin 1993:
    distance from the median over 1.4826 times the median of all such distances), and lie far enough off to matter:
    most samples of a short model are so alike that a microsecond would count else."""
    middle = np.median(samples)
    distances = np.abs(samples - middle)
    limit = max(OUTLIER_SCORE * 1.4826 * np.median(distances), LEAST_OUTLIER * middle)
    return int(np.count_nonzero(distances > limit))


def _retention(runs: Sequence[ProcessRun]) -> float | None:
    """Median duration in the first 30 s of all processes' blocks over that in the last 30 s."""
    timed = []
    for run in runs:
        first = 0
        for block in run.blocks:
            timed.append((block.started_ns, run.samples_ns[first : first + block.runs]))
            first += block.runs
    if len(timed) < 2 or timed[-1][0] - timed[0][0] < RETENTION_LEAST_NS:
        return None
    begun, ended = timed[0][0], timed[-1][0]
    early = np.concatenate([samples for at, samples in timed if at - begun <= RETENTION_EDGE_NS])
    late = np.concatenate([samples for at, samples in timed if ended - at <= RETENTION_EDGE_NS])
    return float(np.median(early) / np.median(late))


def _interval(by_process: list[NDArray[np.int64]], percent: int, seed: int) -> tuple[int | None, int | None]:
    if len(by_process) < 2:  # one process says nothing about the next one
        return None, None
    drawn = _drawn_percentiles(by_process, _draws(len(by_process), seed), percent)
    low, high = np.quantile(drawn, _tails(), method="inverted_cdf")
    return int(low), int(high)


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


@lru_cache(maxsize=16)
def _draws(processes: int, seed: int) -> NDArray[np.int64]:
    """How often each process is drawn: (draws, processes)."""
    return np.random.default_rng(seed).multinomial(processes, [1 / processes] * processes, size=BOOTSTRAP_DRAWS)


def _drawn_percentiles(
    by_process: list[NDArray[np.int64]], draws: NDArray[np.int64], percent: int
) -> NDArray[np.int64]:
    """The percentile of the pooled samples of each draw: (draws,).

    All draws bisect together over the distinct values, which needs neither the pooled arrays nor a sort per draw.
    """
    sizes = np.array([len(samples) for samples in by_process])
    rank = -(-percent * (draws @ sizes) // 100)
    values = np.unique(np.concatenate(by_process))
    not_above = np.stack([np.searchsorted(samples, values, side="right") for samples in by_process], 1)
    low = np.zeros(len(draws), np.int64)
    high = np.full(len(draws), len(values) - 1, np.int64)
    while np.any(low < high):
        middle = (low + high) // 2
        enough = np.sum(draws * not_above[middle], axis=1) >= rank
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle + 1)
    return values[low]
