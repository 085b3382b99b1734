"""A fixed amount of work that has nothing to do with the model: what it takes tells how fast the CPU is just now.

After AndroidX Benchmark's ThrottleDetector (a work unit, the smallest of several times, 1.1 times its first value means
throttled). Integers and a copy that fits the first-level cache; about 0.1 ms on a workstation, some ms on a Pi Zero.
"""

from __future__ import annotations

import time
from typing import Callable

REPEATS = 3
_ROUNDS = 400
_BUFFER_BYTES = 4096


def sentinel_ns(clock: Callable[[], int] = time.monotonic_ns) -> int:
    """Do the work three times and return the shortest time, ns: one interruption does not count."""
    return min(_timed(clock) for _ in range(REPEATS))


def _timed(clock: Callable[[], int]) -> int:
    start = clock()
    _work()
    return clock() - start


def _work() -> int:
    source = bytes(range(256)) * (_BUFFER_BYTES // 256)
    target = bytearray(_BUFFER_BYTES)
    value = 1
    for step in range(_ROUNDS):
        value = (value * 1664525 + step) & 0xFFFFFFFF
        if not step & 15:
            target[:] = source
    return value
