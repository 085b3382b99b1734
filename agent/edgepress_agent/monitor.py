"""Watching the board while a worker is timed: from the job's process, at a low rate, at a known price.

The job sleeps until its worker speaks or the next reading is due. A reading is a few files of the kernel's (about
0.3 ms of CPU on a workstation). Readings are as far apart as their own cost demands, 0.4 % of the time, but one a
second and two for each worker at least. ``vcgencmd`` is a process each time, and is asked only when that leaves room
for it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from edgepress_agent import vcgencmd
from edgepress_agent.board_state import (
    Clock,
    parse_millidegrees,
    parse_throttled_file,
    read_text,
    temperature_file,
    throttled_file,
)
from edgepress_agent.counters import parse_loadavg, parse_pressure_us, parse_stat, parse_vmstat
from edgepress_agent.protocol.messages import Reading

SHORTEST_PERIOD_S = 0.05
LONGEST_PERIOD_S = 1.0  # a throttled second is seen, also where a reading is dear
SHARE = 0.004  # of the time, for the monitor's own CPU time


_FIRMWARE_NS = 10_000_000  # what asking it may cost, until it was asked


class Budget:
    """What the monitors of one job may spend, together."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._spent_ns = 0
        self._firmware_ns = _FIRMWARE_NS

    def allows_firmware(self) -> bool:
        return self._spent_ns + self._firmware_ns <= SHARE * 1e9 * (time.monotonic() - self._begun)

    def spend(self, cpu_ns: int, with_firmware: bool) -> None:
        self._spent_ns += cpu_ns
        if with_firmware:
            self._firmware_ns = cpu_ns


class Probe:
    """Where a board keeps what is worth watching: found once, read often."""

    def __init__(self, root: Path, cpus: Sequence[int]) -> None:
        self._root = root
        self._cpus = tuple(cpus) or tuple(sorted(parse_stat(read_text(root / "proc/stat"))))
        self._clock = Clock(root, cpus)
        self._temperature = temperature_file(root)
        self._throttled = throttled_file(root)
        self._firmware = vcgencmd.find(root)
        self.has_firmware = self._firmware is not None

    def read(self, ask_firmware: bool) -> Tuple[Reading, int]:
        """Return a reading and the CPU time of child processes that it took, ns."""
        times = parse_stat(read_text(self._root / "proc/stat"))
        ours = [times[cpu] for cpu in self._cpus if cpu in times]
        hz, throttled, power_w, children_ns = self._clock.read_hz(), None, None, 0
        if self._throttled is not None:
            throttled = parse_throttled_file(read_text(self._throttled))
        if ask_firmware and self._firmware is not None:
            if throttled is None:
                answer, spent = vcgencmd.ask(self._firmware, "get_throttled")
                throttled, children_ns = vcgencmd.parse_throttled(answer), children_ns + spent
            answer, spent = vcgencmd.ask(self._firmware, "measure_clock", "arm")
            real, children_ns = vcgencmd.parse_clock(answer), children_ns + spent
            hz = min((value for value in (hz, real) if value), default=None)  # sysfs has the wish, not the cap
            answer, spent = vcgencmd.ask(self._firmware, "pmic_read_adc")
            power_w, children_ns = vcgencmd.parse_power(answer), children_ns + spent
        reading = Reading(
            taken_ns=time.monotonic_ns(),
            cpu_hz=hz,
            temperature_c=parse_millidegrees(read_text(self._temperature)) if self._temperature else None,
            throttled_bits=throttled,
            load_1min=parse_loadavg(read_text(self._root / "proc/loadavg")) or 0.0,
            pressure_us=parse_pressure_us(read_text(self._root / "proc/pressure/cpu")),
            steal_ns=sum(cpu.steal_ns for cpu in ours) if ours else None,
            other_ns=sum(cpu.busy_ns for cpu in ours) if ours else None,
            swapped_in_pages=parse_vmstat(read_text(self._root / "proc/vmstat"), "pswpin"),
            power_w=power_w,
        )
        return reading, children_ns


class Monitor:
    """The readings of one worker's life."""

    def __init__(self, probe: Probe, budget: Budget) -> None:
        self._probe = probe
        self._budget = budget
        self._begun = time.monotonic()
        self._watching = False
        self._due = 0.0
        self.readings: List[Reading] = []
        self.cpu_ns = 0

    def begin(self) -> None:
        """Start to watch: the model is loaded, and warm-up begins."""
        self._watching = True
        self.take()

    def seconds_to_next(self) -> Optional[float]:
        """Return how long to wait for the worker before :meth:`take` is due; None: nothing is watched."""
        return max(0.0, self._due - time.monotonic()) if self._watching else None

    def take(self) -> None:
        """Take a reading."""
        before = time.process_time_ns()
        ask_firmware = self._probe.has_firmware and self._budget.allows_firmware()
        reading, children_ns = self._probe.read(ask_firmware)
        self.readings.append(reading)
        spent_ns = time.process_time_ns() - before + children_ns
        self._budget.spend(spent_ns, ask_firmware)
        self.cpu_ns += spent_ns
        period_s = LONGEST_PERIOD_S if ask_firmware else spent_ns / 1e9 / SHARE
        self._due = time.monotonic() + min(max(period_s, SHORTEST_PERIOD_S), LONGEST_PERIOD_S)

    def end(self) -> Tuple[Reading, ...]:
        """Take the last reading, so that counters have an end, and return all."""
        if self._watching:
            self.take()
        self._watching = False
        return tuple(self.readings)

    @property
    def watched_ns(self) -> int:
        """How long the worker has lived."""
        return round(1e9 * (time.monotonic() - self._begun))
