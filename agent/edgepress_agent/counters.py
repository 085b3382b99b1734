"""The kernel's counters, as pure parsers of its files. What cannot be read is None, never zero."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional

_TASKS = Path("/proc/self/task")
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTimes:
    """One CPU since boot, ns, in steps of a clock tick (10 ms)."""

    busy_ns: int  # user, nice, system, interrupts; a guest's time is part of user
    steal_ns: int  # ready to run while the hypervisor ran somebody else


def parse_stat(text: Optional[str]) -> Dict[int, CpuTimes]:
    """Read ``/proc/stat``: times by CPU number."""
    found = {}
    for number, rest in re.findall(r"^cpu(\d+) ([\d ]+)$", text or "", re.MULTILINE):
        ticks = [int(word) for word in rest.split()]
        if len(ticks) >= 8:
            user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
            found[int(number)] = CpuTimes((user + nice + system + irq + softirq) * _NS_PER_TICK, steal * _NS_PER_TICK)
    return found


def parse_pressure_us(text: Optional[str]) -> Optional[int]:
    """Read ``/proc/pressure/cpu``: how long some task waited for a CPU, since boot, microseconds."""
    match = re.search(r"^some .*\btotal=(\d+)$", text or "", re.MULTILINE)
    return int(match.group(1)) if match else None


def parse_vmstat(text: Optional[str], name: str) -> Optional[int]:
    """Read one counter of ``/proc/vmstat``."""
    match = re.search(rf"^{name} (\d+)$", text or "", re.MULTILINE)
    return int(match.group(1)) if match else None


def parse_loadavg(text: Optional[str]) -> Optional[float]:
    """Read the load of the last minute from ``/proc/loadavg``."""
    match = re.match(r"(\d+\.\d+) ", text or "")
    return float(match.group(1)) if match else None


def parse_schedstat(text: str) -> Optional[int]:
    """Read a task's ``schedstat``: how long it was ready to run and did not, ns."""
    words = text.split()
    return int(words[1]) if len(words) == 3 and words[1].isdigit() else None


def own_wait_ns() -> Optional[int]:
    """Return how long the threads of this process stood in run queues, ns; None where the kernel does not count."""
    total = None
    for task in _TASKS.iterdir():
        try:
            text = (task / "schedstat").read_text()
        except FileNotFoundError:  # a thread that has ended; of a kernel without the file, all
            continue
        except OSError:
            return None
        waited = parse_schedstat(text)
        if waited is None:
            return None
        total = (total or 0) + waited
    return total
