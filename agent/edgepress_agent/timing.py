"""The timed loop: nothing but the inference stands between two readings of the clock.

The clock is CLOCK_MONOTONIC in nanoseconds (``time.monotonic_ns``), injected so that the rules can be tested.
"""

from __future__ import annotations

import gc
from array import array
from dataclasses import dataclass
from typing import Callable, Optional

from edgepress_agent.protocol.messages import BenchmarkPlan
from edgepress_agent.steadiness import MIN_RUNS, is_steady

Clock = Callable[[], int]

_PREALLOCATED_AT_MOST = 1 << 20  # samples, 8 MiB
_EXPECTED_SHORTEST_NS = 20_000


def sample_storage(plan: BenchmarkPlan) -> array[int]:
    """Return zeroed storage for the samples of one process, to be made before memory is first read.

    It holds what the plan asks for of inferences that take 20 us or more, at most 8 MiB: samples that come in later do
    not look like memory of the model.
    """
    expected = max(plan.min_runs, plan.min_duration_ns // _EXPECTED_SHORTEST_NS)
    if plan.block_max_runs is not None:
        blocks = plan.min_duration_ns // (plan.block_ns + plan.untimed_between_ns) + 1
        expected = min(expected, blocks * plan.block_max_runs)
    return array("q", bytes(8 * min(expected, _PREALLOCATED_AT_MOST)))


@dataclass(frozen=True)
class WarmUp:
    """The duration of each run, ns, and whether they became steady; None: the length was fixed, or too few ran."""

    durations_ns: array[int]
    steady: Optional[bool]


def warm_up(invoke: Callable[[], None], plan: BenchmarkPlan, clock: Clock) -> WarmUp:
    """Run until the plan's warm-up runs AND its warm-up time are both reached, at most ``max_duration_ns`` long; then,
    if the plan says so, on until the trace is steady, at most ``steady_warmup_max_ns`` long.
    """
    durations = array("q")
    begun = clock()
    next_test = MIN_RUNS
    while True:
        start = clock()
        invoke()
        end = clock()
        durations.append(end - start)
        count, elapsed = len(durations), end - begun
        if elapsed >= plan.max_duration_ns:
            return WarmUp(durations, None if count < MIN_RUNS else is_steady(durations))
        if count < plan.warmup_min_runs or elapsed < plan.warmup_min_ns:
            continue
        if plan.steady_warmup_max_ns is None:
            return WarmUp(durations, None)
        if count >= next_test:
            if is_steady(durations):
                return WarmUp(durations, True)
            next_test = count + count // 4 + 1
        if elapsed >= plan.steady_warmup_max_ns:
            return WarmUp(durations, None if count < MIN_RUNS else is_steady(durations))


class Blocks:
    """What happens around blocks of timed inferences. This one does nothing; the worker's own counts."""

    def begin(self) -> None:
        """A block is about to start."""

    def end(self, runs: int, started_ns: int, ended_ns: int) -> None:
        """A block of so many inferences has ended."""


def timed_runs(
    invoke: Callable[[], None], plan: BenchmarkPlan, clock: Clock, storage: array[int], blocks: Blocks
) -> array[int]:
    """Run until the plan's runs AND its duration are both reached, but no longer than ``max_duration_ns``.

    The garbage collector is off meanwhile.

    Args:
        storage: of :func:`sample_storage`; grown, outside the timed part, if it does not hold them all.

    Returns:
        The duration of each run in order, ns; at least one. It is ``storage``, cut to them: as numbers of Python's own
        they would take four times the memory, and be taken for the model's.
    """
    min_runs, min_duration, max_duration = plan.min_runs, plan.min_duration_ns, plan.max_duration_ns
    block_ns = plan.block_ns or max_duration
    block_runs = plan.block_max_runs or 1 << 62
    room = len(storage)
    count = 0
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        begun = clock()
        while True:
            first, over = count, False
            blocks.begin()
            block_begun = clock()
            while True:
                start = clock()
                invoke()
                end = clock()
                if count == room:
                    storage.extend(array("q", bytes(8 * (room // 2 + 1))))
                    room = len(storage)
                storage[count] = end - start
                count += 1
                elapsed = end - begun
                over = (count >= min_runs and elapsed >= min_duration) or elapsed >= max_duration
                if over or end - block_begun >= block_ns or count - first >= block_runs:
                    break
            blocks.end(count - first, block_begun, end)
            if over:
                del storage[count:]
                return storage
            if plan.untimed_between_ns:
                until = clock() + plan.untimed_between_ns
                while clock() < until:
                    invoke()
    finally:
        if collecting:
            gc.enable()
