"""Faults for ``detection.py``: what slows a worker down, on the real machine and on a made-up board.

On the real one a CPU quota (cgroup v1 or v2), SIGSTOP in pulses, or a competitor pinned to the worker's CPU; on a
made-up /proc, /sys and vcgencmd a lower clock, the firmware's throttle bits, or heat that makes them appear.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repeatability import BUSY

if TYPE_CHECKING:
    from edgepress.devices.device import Device

CLOCK_HZ = 1_800_000_000
Window = tuple[int, int]  # CLOCK_MONOTONIC, ns


class Board:
    """The agent's host as faults see it: its processes, and the made-up part of its system."""

    def __init__(self, device: Device, root: Path | None, cpus: list[int]) -> None:
        self.device = device
        self.root = root
        self.cpus = cpus

    def worker(self) -> int | None:
        """The process id of the worker that runs now."""
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"worker" in words and any(b"edgepress_agent" in word for word in words):
                    return int(folder.name)
        return None


@contextmanager
def quota(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """Hold the agent and all it starts to a share of one CPU."""
    share, period_us = chance.uniform(0.4, 0.88), chance.choice([10_000, 20_000, 50_000, 100_000])
    version1 = Path("/sys/fs/cgroup/cpu")
    base = version1 if version1.is_dir() else Path("/sys/fs/cgroup")
    group = base / f"edgepress-detection-{os.getpid()}"
    group.mkdir()
    agent = board.device.hello.pid
    try:
        if base == version1:
            (group / "cpu.cfs_period_us").write_text(str(period_us))
            (group / "cpu.cfs_quota_us").write_text(str(int(share * period_us)))
        else:
            (group / "cpu.max").write_text(f"{int(share * period_us)} {period_us}")
        (group / "cgroup.procs").write_text(str(agent))
        begun = time.monotonic_ns()
        windows: list[Window] = []
        yield windows
        windows.append((begun, time.monotonic_ns()))
    finally:
        (base / "cgroup.procs").write_text(str(agent))
        while group.exists():
            try:
                group.rmdir()
            except OSError:  # a process that ends
                for left in (group / "cgroup.procs").read_text().split():
                    (base / "cgroup.procs").write_text(left)
                time.sleep(0.01)


@contextmanager
def competitor(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """A loop that never rests on the worker's CPU, politely or not, all the time or for a part of it."""
    nice, whole = chance.randrange(0, 9), chance.random() < 0.5

    def pin() -> None:
        os.sched_setaffinity(0, board.cpus)
        os.nice(nice)

    stop = threading.Event()
    windows: list[Window] = []

    def disturb() -> None:
        while not stop.is_set():
            with subprocess.Popen([sys.executable, "-S", "-c", BUSY], preexec_fn=pin) as process:
                begun = time.monotonic_ns()
                stop.wait(60 if whole else chance.uniform(0.2, 0.5))
                process.kill()
                windows.append((begun, time.monotonic_ns()))
            if not whole:
                stop.wait(chance.uniform(0.1, 0.4))

    yield from _beside(disturb, stop, windows)


@contextmanager
def pulses(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """Stop and continue the worker: a tenth to a half of the time."""
    period_s, duty = chance.uniform(0.004, 0.05), chance.uniform(0.12, 0.5)
    stop = threading.Event()
    windows: list[Window] = []

    def disturb() -> None:
        begun = time.monotonic_ns()
        worker = None
        while not stop.is_set():
            if worker is None or not Path(f"/proc/{worker}").exists():
                worker = board.worker()
                time.sleep(0.005)
                continue
            try:
                os.kill(worker, signal.SIGSTOP)
                time.sleep(period_s * duty)
                os.kill(worker, signal.SIGCONT)
            except ProcessLookupError:
                worker = None
            time.sleep(period_s * (1 - duty))
        windows.append((begun, time.monotonic_ns()))

    yield from _beside(disturb, stop, windows)


@contextmanager
def clock(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """The clock that the kernel reports falls by a tenth or more, for a part of the time."""
    low = round(CLOCK_HZ * chance.uniform(0.4, 0.9))
    full = CLOCK_HZ // 1000
    yield from _scripted(chance, {_frequency(board): (full, low // 1000, full)})


@contextmanager
def throttle(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """The firmware says that it throttles: for a while, and that it did so since boot from then on."""
    bit = chance.randrange(4)
    sticky = 1 << bit + 16
    file = _root(board) / "throttled"
    yield from _scripted(chance, {file: ("0x0", hex(1 << bit | sticky), hex(sticky))})


@contextmanager
def heat(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """The CPU reaches 82 C, its clock falls a step, and the firmware says so."""
    temperature = _root(board) / "sys/class/thermal/thermal_zone0/temp"
    low = chance.choice([600_000, 750_000, 1_000_000, 1_500_000])
    full = CLOCK_HZ // 1000
    changes = {temperature: (55_000, 82_500, 55_000), _frequency(board): (full, low, full)}
    yield from _scripted(chance, {**changes, _root(board) / "throttled": ("0x0", "0x20002", "0x20000")})


@contextmanager
def nothing(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """No fault at all."""
    del board, chance
    yield []


# What must be among the causes for a fault to have been named.
NAMES = {
    "quota": "descheduled",
    "SIGSTOP pulses": "descheduled",
    "pinned competitor": "descheduled",
    "clock": "clock",
    "throttle bits": "throttled",
    "heat": "throttled",
}
REAL = {"quota": quota, "SIGSTOP pulses": pulses, "pinned competitor": competitor}
MADE_UP = {"clock": clock, "throttle bits": throttle, "heat": heat}
Fault = Callable[[Board, random.Random], Any]


def _beside(disturb: Callable[[], None], stop: threading.Event, windows: list[Window]) -> Iterator[list[Window]]:
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield windows
    finally:
        stop.set()
        thread.join()


def _scripted(chance: random.Random, files: dict[Path, tuple[object, object, object]]) -> Iterator[list[Window]]:
    """Change what files say for a while: to the second value, then to the third; the first is from before the job."""
    stop = threading.Event()
    windows: list[Window] = []

    def write(which: int) -> None:
        for file, values in files.items():
            temporary = file.with_suffix(".new")
            temporary.write_text(f"{values[which]}\n")
            temporary.replace(file)

    def disturb() -> None:
        stop.wait(chance.uniform(0.0, 0.6))
        write(1)
        begun = time.monotonic_ns()
        stop.wait(chance.uniform(0.3, 1.5))
        windows.append((begun, time.monotonic_ns()))
        write(2)

    write(0)
    yield from _beside(disturb, stop, windows)
    write(0)


def _root(board: Board) -> Path:
    assert board.root is not None
    return board.root


def _frequency(board: Board) -> Path:
    return _root(board) / f"sys/devices/system/cpu/cpu{board.cpus[0]}/cpufreq/scaling_cur_freq"


def make_root(root: Path) -> None:
    """A board's /proc and /sys with a clock, a thermal zone and a vcgencmd, all calm."""
    for cpu in range(os.cpu_count() or 1):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling_cur_freq").write_text(f"{CLOCK_HZ // 1000}\n")
        (folder / "scaling_governor").write_text("performance\n")
    zone = root / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "type").write_text("cpu-thermal\n")
    (zone / "temp").write_text("55000\n")
    (root / "throttled").write_text("0x0\n")
    (root / "proc").mkdir(exist_ok=True)
    program = root / "usr/bin/vcgencmd"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        f'case "$1" in get_throttled) read bits < {root}/throttled; echo "throttled=$bits";; '
        f"*) exit 1;; esac\n"
    )
    program.chmod(0o755)
