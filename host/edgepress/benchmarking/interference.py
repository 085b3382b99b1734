"""Which blocks of a run were disturbed, by what, and which samples therefore stay out of the headline.

A worker takes its samples in blocks, with its own counters and a sentinel between them; the job's monitor reads the
board meanwhile. A block is marked where one of them shows that something else happened. No sample is ever deleted:
marked ones are left out of the headline where they are few (at most a tenth of the timed time), and make the row
`unstable` where they are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BoardState, DeviceFacts, ProcessRun, Reading, RunReport, SampleBlock

MAX_EXCLUDED_SHARE = 0.10

# A single-threaded worker that had the CPU for less than this share of a block stood aside for somebody else, or was
# stopped or held by a quota. 3 %: a tenth is never to be missed, and the timer's interrupts take less than 1 %.
MIN_CPU_SHARE = 0.97
MAX_WAIT_SHARE = 0.03  # of all its threads, in run queues
# A block or a process is slow if its median is this much above the quiet ones'. Half of the slowdown that must be seen.
SLOW_BLOCK = 1.05
SLOW_PROCESS = 1.06
SLOW_SENTINEL = 1.10  # AndroidX Benchmark, ThrottleDetector
CLOCK_DROP = 0.97
STEAL_SHARE = 0.05
MIN_STEAL_NS = 20_000_000  # two clock ticks, in which the kernel counts it
MIN_BLOCKS = 4  # to say which of them are slow

_MAD = 1.4826  # of a normal distribution's standard deviation
_MEDIAN_ERROR = 1.2533  # standard error of a median against that of a mean

CAUSES = {
    "descheduled": "the worker did not have the CPU: something else runs on it, or a quota holds it",
    "slow": "inferences were slower than in the quiet blocks",
    "slow-process": "all of a process was slower than the others",
    "sentinel": "a fixed amount of work took longer, so the CPU was slower",
    "clock": "the CPU's clock was lower than at other times",
    "throttled": "the firmware slowed the board down",
    "steal": "the hypervisor gave the CPU to another guest",
    "major-faults": "memory had to be read from the disk",
}


@dataclass(frozen=True)
class MarkedBlock:
    """A block that was disturbed.

    Attributes:
        process: position of the process in ``report.processes``.
        first, end: which of its samples: ``samples_ns[first:end]``.
        duration_ns: of the block.
        causes: keys of :data:`CAUSES`.
    """

    process: int
    first: int
    end: int
    duration_ns: int
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Interference:
    """All that was seen in a run.

    Attributes:
        blocks: how many there are; 0 in reports without.
        marked: the disturbed ones, in order.
        share: of the timed time that they took.
    """

    blocks: int
    marked: tuple[MarkedBlock, ...]
    share: float

    @property
    def is_excluded(self) -> bool:
        """Whether marked blocks stay out of the headline."""
        return 0 < self.share <= MAX_EXCLUDED_SHARE

    @property
    def shares(self) -> dict[str, float]:
        """The share of all blocks that each cause marks, the largest first."""
        counted = Counter(cause for block in self.marked for cause in block.causes)
        return {cause: count / self.blocks for cause, count in counted.most_common()}


def find_interference(report: RunReport, states: Sequence[BoardState] = (), max_hz: int | None = None) -> Interference:
    """Mark the blocks of a run.

    Args:
        states: of the job: a clock that was higher before or between the processes counts as well.
        max_hz: the clock that the board should have; None: the highest that was seen.
    """
    runs = report.processes
    total_ns = sum(_duration(block) for run in runs for block in run.blocks)
    blocks = sum(len(run.blocks) for run in runs)
    if not total_ns:
        return Interference(blocks, (), 0.0)
    slow_processes = set(_slow_processes(runs))
    sentinel_limit = _sentinel_limit(runs)
    seen_hz = [state.cpu_hz for state in states]
    seen_hz += [reading.cpu_hz for run in runs for reading in run.readings]
    highest_hz = max((hz for hz in (max_hz, *seen_hz) if hz is not None), default=0)
    marked = []
    for index, run in enumerate(runs):
        medians = _block_medians(run)
        slow_limit = _slow_limit(run, medians)
        first = 0
        for block, median in zip(run.blocks, medians, strict=True):
            slow = [
                *(["slow"] if median > slow_limit else []),
                *(["slow-process"] if index in slow_processes else []),
            ]
            causes = [
                *_own_causes(block, report.configuration.threads),
                *slow,
                *(["sentinel"] if slow and block.sentinel_ns > sentinel_limit else []),
                *_read_causes(block, run.readings, highest_hz),
            ]
            if causes:
                marked.append(MarkedBlock(index, first, first + block.runs, _duration(block), tuple(causes)))
            first += block.runs
    return Interference(blocks, tuple(marked), sum(block.duration_ns for block in marked) / total_ns)


def fixed_clock_hz(facts: DeviceFacts | None) -> int | None:
    """Return the clock that a board has under load: its highest one, on ARM boards. None where that is not known: what
    x86 calls its maximum is a boost that depends on the neighbours."""
    is_arm = facts is not None and facts.machine.startswith(("aarch64", "arm"))
    return facts.cpu_max_hz if facts is not None and is_arm else None


def kept_samples(report: RunReport, interference: Interference) -> list[tuple[int, ...]]:
    """Return the samples (ns) that make the headline, of each of ``report.processes``."""
    samples = [list(run.samples_ns) for run in report.processes]
    if interference.is_excluded:
        for block in reversed(interference.marked):
            del samples[block.process][block.first : block.end]
    return [tuple(kept) for kept in samples]


def samples_by_round(
    report: RunReport, states: Sequence[BoardState] = (), max_hz: int | None = None
) -> dict[int, tuple[int, ...]]:
    """Return the samples (ns) that make the headline by round, in order; the arguments of :func:`find_interference`."""
    kept = kept_samples(report, find_interference(report, states, max_hz))
    rounds = {run.index: samples for run, samples in zip(report.processes, kept, strict=True) if samples}
    return dict(sorted(rounds.items()))


def _duration(block: SampleBlock) -> int:
    return max(0, block.ended_ns - block.started_ns)


def _own_causes(block: SampleBlock, threads: int) -> Iterator[str]:
    duration = _duration(block)
    held = threads == 1 and block.cpu_ns < MIN_CPU_SHARE * duration
    waited = block.waited_ns is not None and block.waited_ns > MAX_WAIT_SHARE * duration
    if held or waited:
        yield "descheduled"
    if block.major_faults:
        yield "major-faults"


def _block_medians(run: ProcessRun) -> list[float]:
    medians, first = [], 0
    for block in run.blocks:
        medians.append(float(np.median(run.samples_ns[first : first + block.runs])))
        first += block.runs
    return medians


def _slow_limit(run: ProcessRun, medians: Sequence[float]) -> float:
    """What the median of a block may not exceed: 5 % above the lower quartile, or what chance explains if that is more.

    How far medians vary by chance is taken from the spread inside blocks, which a slow stretch does not change.
    """
    if len(medians) < MIN_BLOCKS:
        return float("inf")
    quiet = float(np.quantile(medians, 0.25))
    residuals = np.concatenate(
        [np.asarray(samples) - median for samples, median in zip(_by_block(run), medians, strict=True)]
    )
    runs = float(np.median([block.runs for block in run.blocks]))
    chance = _MEDIAN_ERROR * _MAD * float(np.median(np.abs(residuals))) / sqrt(runs)
    # Of a few dozen medians the lower quartile is 0.7 deviations below the middle, the largest 3 above.
    return quiet + max((SLOW_BLOCK - 1) * quiet, 4 * chance)


def _by_block(run: ProcessRun) -> Iterator[NDArray[np.int64]]:
    first = 0
    for block in run.blocks:
        yield np.asarray(run.samples_ns[first : first + block.runs], np.int64)
        first += block.runs


def _slow_processes(runs: Sequence[ProcessRun]) -> Iterator[int]:
    """The processes whose median is 6 % above the lower quartile of all."""
    medians = [float(np.median(run.samples_ns)) if run.samples_ns else 0.0 for run in runs]
    counted = sorted(median for median in medians if median)
    if len(counted) < 2:
        return
    quiet = counted[(len(counted) - 1) // 4]
    for index, median in enumerate(medians):
        if median > SLOW_PROCESS * quiet:
            yield index


def _sentinel_limit(runs: Sequence[ProcessRun]) -> float:
    """What the sentinel takes on a CPU that is slower: why inferences were slow, but no mark by itself. It lasts a
    hundredth of a block, so that what falls into it need not have touched the block."""
    taken = [block.sentinel_ns for run in runs for block in run.blocks]
    return SLOW_SENTINEL * float(np.quantile(taken, 0.25))


def _read_causes(block: SampleBlock, readings: Sequence[Reading], highest_hz: int) -> Iterator[str]:
    if not readings:
        return
    middle = (block.started_ns + block.ended_ns) // 2
    near = [min(readings, key=lambda reading: abs(reading.taken_ns - middle))]
    near += [reading for reading in readings if block.started_ns <= reading.taken_ns <= block.ended_ns]
    if any(reading.cpu_hz is not None and reading.cpu_hz < CLOCK_DROP * highest_hz for reading in near):
        yield "clock"
    if any(reading.throttled_bits is not None and reading.throttled_bits & 0xF for reading in near):
        yield "throttled"
    for before, after in pairwise(readings):
        overlaps = before.taken_ns < block.ended_ns and after.taken_ns > block.started_ns
        if overlaps and before.steal_ns is not None and after.steal_ns is not None:
            stolen = after.steal_ns - before.steal_ns
            if stolen >= MIN_STEAL_NS and stolen > STEAL_SHARE * (after.taken_ns - before.taken_ns):
                yield "steal"
                return
