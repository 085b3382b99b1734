"""The timed loop: nothing but the inference stands between two readings of the clock.

The clock is CLOCK_MONOTONIC in nanoseconds (``time.monotonic_ns``), injected so that the rules can be tested.
"""

from __future__ import annotations

import gc
from array import array
from typing import Callable, Tuple

from edgepress_agent.protocol.messages import BenchmarkPlan

Clock = Callable[[], int]

_PREALLOCATED_AT_MOST = 1 << 20  # samples, 8 MiB
_EXPECTED_SHORTEST_NS = 20_000


def sample_storage(plan: BenchmarkPlan) -> array[int]:
    """Return zeroed storage for the samples of one process, to be made before memory is first read.

    It holds what the plan asks for of inferences that take 20 us or more, at most 8 MiB: samples that come in later do
    not look like memory of the model.
    """
    expected = max(plan.min_runs, plan.min_duration_ns // _EXPECTED_SHORTEST_NS)
    return array("q", bytes(8 * min(expected, _PREALLOCATED_AT_MOST)))


def warm_up(invoke: Callable[[], None], plan: BenchmarkPlan, clock: Clock) -> Tuple[int, ...]:
    """Run until the plan's warm-up runs AND its warm-up time are both reached, at most ``max_duration_ns`` long.

    Returns:
        The duration of each run, ns.
    """
    durations = array("q")
    begun = clock()
    while True:
        start = clock()
        invoke()
        end = clock()
        durations.append(end - start)
        enough = len(durations) >= plan.warmup_min_runs and end - begun >= plan.warmup_min_ns
        if enough or end - begun >= plan.max_duration_ns:
            return tuple(durations)


def timed_runs(invoke: Callable[[], None], plan: BenchmarkPlan, clock: Clock, storage: array[int]) -> Tuple[int, ...]:
    """Run until the plan's runs AND its duration are both reached, but no longer than ``max_duration_ns``.

    The garbage collector is off meanwhile.

    Args:
        storage: of :func:`sample_storage`; grown, outside the timed part, if it does not hold them all.

    Returns:
        The duration of each run in order, ns; at least one.
    """
    min_runs, min_duration, max_duration = plan.min_runs, plan.min_duration_ns, plan.max_duration_ns
    room = len(storage)
    count = 0
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        begun = clock()
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
            if (count >= min_runs and elapsed >= min_duration) or elapsed >= max_duration:
                return tuple(storage[:count])
    finally:
        if collecting:
            gc.enable()
