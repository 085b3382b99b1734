"""Which CPUs a worker gets, and which are left to the rest of the job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterable, Tuple

from edgepress_agent.board_state import read_text

_CPUS = "sys/devices/system/cpu"


def split_cpus(threads: int, root: Path = Path("/")) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
    """Return (CPUs of a worker, CPUs of everything else) out of those that this process may use.

    The worker gets the most capable ones (big.LITTLE), of equals the last: interrupts prefer the first. With fewer CPUs
    than threads + 1 nothing is split: the worker has none of its own, and everything has them all. To share one CPU
    with the monitor is worse than to be moved.
    """
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    available = sorted(os.sched_getaffinity(0))
    if len(available) <= threads:
        return (), tuple(available)
    capacity = capacities(available, root)
    ranked = sorted(available, key=lambda cpu: (capacity[cpu], cpu), reverse=True)
    return tuple(sorted(ranked[:threads])), tuple(sorted(ranked[threads:]))


def capacities(cpus: Iterable[int], root: Path = Path("/")) -> Dict[int, int]:
    """Return ``cpu_capacity`` of each CPU; 0 where the kernel does not say (all CPUs are equal then)."""
    found = {}
    for cpu in cpus:
        text = read_text(root / _CPUS / f"cpu{cpu}" / "cpu_capacity") or ""
        found[cpu] = int(text) if text.isdigit() else 0
    return found
