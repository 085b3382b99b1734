"""Does a measurement notice that it was disturbed? Scripted faults, and as many measurements without one.

    python benchmarks/detection.py --faults 300 --calm 300

A trial is one job on the device `local`: a model in two worker processes of 0.3 s each. A fault slows the worker by a
tenth or more for at least a tenth of the timed part: a CPU quota (cgroup v1 or v2), SIGSTOP in pulses, a competitor
pinned to the worker's CPU, or, on a made-up /proc, /sys and vcgencmd, a lower clock, the firmware's throttle bits, or
heat that makes them appear. How much of the timed part a fault covered is read from the blocks' own times; a trial in
which it was less than a tenth is done again. A fault is missed if the row is called `stable` and no block is marked.
Trials are kept as lines of JSON in the work folder: an interrupted run goes on where it was. Writes
``results/detection.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path
from repeatability import BUSY, machine_lines
from subjects import digits

from edgepress.benchmarking import session
from edgepress.benchmarking.interference import find_interference
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.verdict import judge_run

if TYPE_CHECKING:
    from edgepress.devices.device import Device
    from edgepress_agent.protocol.messages import RunReport
    from edgepress_converters.model import TFLiteModel

HERE = Path(__file__).parent
LEAST_COVER = 0.10
CLOCK_HZ = 1_800_000_000
Window = tuple[int, int]  # CLOCK_MONOTONIC, ns

PLAN = replace(
    PLANS["quick"], name="detection", processes=2, warmup_min_ns=10_000_000, min_duration_ns=300_000_000, cool_to_c=None
)


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
    yield from _scripted(chance, {_frequency(board): (CLOCK_HZ // 1000, low // 1000)})


@contextmanager
def throttle(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """The firmware says that it throttles: now, and since boot from then on."""
    bit = chance.randrange(4)
    file = _root(board) / "throttled"
    yield from _scripted(chance, {file: ("0x0", hex(1 << bit | 1 << bit + 16))})


@contextmanager
def heat(board: Board, chance: random.Random) -> Iterator[list[Window]]:
    """The CPU reaches 82 C, its clock falls a step, and the firmware says so."""
    temperature = _root(board) / "sys/class/thermal/thermal_zone0/temp"
    low = chance.choice([600_000, 750_000, 1_000_000, 1_500_000])
    changes = {temperature: (55_000, 82_500), _frequency(board): (CLOCK_HZ // 1000, low)}
    yield from _scripted(chance, {**changes, _root(board) / "throttled": ("0x0", "0x20002")})


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


def _scripted(chance: random.Random, files: dict[Path, tuple[object, object]]) -> Iterator[list[Window]]:
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
        write(0)

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


def cover(run: RunReport, windows: list[Window]) -> float:
    """Which part of the timed time lies in the windows of a fault."""
    blocks = [(block.started_ns, block.ended_ns) for process in run.processes for block in process.blocks]
    total = sum(ended - begun for begun, ended in blocks)
    inside = sum(max(0, min(ended, close) - max(begun, open_)) for begun, ended in blocks for open_, close in windows)
    return inside / total


def trial(board: Board, model: TFLiteModel, kind: str, fault: Fault, seed: int) -> Any:
    """One measurement under one fault."""
    for attempt in range(20):
        with fault(board, random.Random(1000 * seed + attempt)) as windows:
            report = session.measure(board.device, [model], replace(PLAN, seed=seed))
        session.acknowledge(board.device, report)
        run = report.runs[0]
        covered = cover(run, windows)
        if kind == "none" or covered >= LEAST_COVER:
            break
    verdict, seen = judge_run(run, report.states), find_interference(run, report.states)
    return {
        "kind": kind,
        "cover": covered,
        "verdict": str(verdict.name),
        "reasons": [reason.code for reason in verdict.reasons],
        "share": seen.share,
        "causes": list(seen.shares),
        "named": NAMES.get(kind, "") in {*seen.shares, *(reason.code for reason in verdict.reasons)},
        "found": verdict.name != "stable" or bool(seen.marked),
        "monitor": [sum(p.monitor_cpu_ns for p in run.processes), sum(p.monitored_ns for p in run.processes)],
        "load": os.getloadavg()[0],
        "at": time.time(),
    }


@contextmanager
def boards(work: Path, model: TFLiteModel) -> Iterator[tuple[Board, Board]]:
    """The device as it is, and the same with a made-up system."""
    from edgepress.devices.device import Device

    os.environ["EDGEPRESS_HOME"] = str(work.resolve() / "home")
    root = work.resolve() / "board"
    make_root(root)
    with Device.open("local") as plain:
        report = session.measure(plain, [model], replace(PLAN, processes=1))
        session.acknowledge(plain, report)
        cpus = list(report.runs[0].processes[0].cpus) or [0]
        os.environ["EDGEPRESS_SYSTEM_ROOT"] = str(root)
        try:
            with Device.open("local") as made_up:
                yield Board(plain, None, cpus), Board(made_up, root, cpus)
        finally:
            del os.environ["EDGEPRESS_SYSTEM_ROOT"]


def summary(faults: list[Any], calm: list[Any]) -> list[str]:
    """The table of faults, and the false alarms."""
    lines = [
        "| fault | trials | covered (median) | found | cause named | not stable |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in (*REAL, *MADE_UP):
        ours = [one for one in faults if one["kind"] == kind]
        covers = sorted(one["cover"] for one in ours)
        if ours:
            lines.append(
                f"| {kind} | {len(ours)} | {covers[len(covers) // 2]:.0%} | {sum(one['found'] for one in ours)} | "
                f"{sum(one['named'] for one in ours)} | "
                f"{sum(one['verdict'] != 'stable' for one in ours)} |"
            )
    found = sum(one["found"] for one in faults)
    alarms = [one for one in calm if one["verdict"] != "stable"]
    reasons = [reason for one in alarms for reason in one["reasons"]]
    spent, watched = (sum(one["monitor"][i] for one in faults + calm) for i in (0, 1))
    lines += ["", f"- Found: {found} of {len(faults)}; missed {len(faults) - found} (goal: none)."]
    if calm:
        why = ", ".join(f"{reason} {reasons.count(reason)}" for reason in sorted(set(reasons))) or "no reason"
        share = len(alarms) / len(calm)
        lines.append(f"- Without a fault, {len(calm)} trials: {len(alarms)} not stable ({share:.1%}; goal 1 %): {why}.")
    return [*lines, f"- The monitor's own CPU time: {spent / watched:.3%} of the workers' lives (goal: at most 0.5 %)."]


def main() -> None:
    """Run the trials that are missing and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--calm", type=int, default=300, help="trials without a fault")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--work", type=Path, default=user_cache_path("edgepress") / "benchmarks")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "detection.md")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    model = digits(arguments.work, "float32")
    file = arguments.work / "detection.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    end = time.monotonic() + arguments.seconds
    kinds = {**REAL, **MADE_UP}
    wanted = [(list(kinds)[number % len(kinds)], number) for number in range(arguments.faults)]
    wanted += [("none", number) for number in range(arguments.calm)]
    # Faults and calm trials take turns, so that both meet the same machine.
    wanted.sort(key=lambda one: one[1] / (arguments.faults if one[0] != "none" else max(1, arguments.calm)))
    present = {(one["kind"], one["number"]) for one in done}
    with boards(arguments.work, model) as (plain, made_up):
        for kind, number in wanted:
            if (kind, number) in present or time.monotonic() > end:
                continue
            board = made_up if kind in MADE_UP else plain
            found = {**trial(board, model, kind, kinds.get(kind, nothing), number), "number": number}
            done.append(found)
            with file.open("a") as stream:
                stream.write(json.dumps(found) + "\n")
            print(f"\r{len(done)} of {len(wanted)}", end="", file=sys.stderr, flush=True)
        heading = machine_lines(plain.device, "detection.py", "Faults that a measurement notices")
    print(file=sys.stderr)
    faults, calm = ([one for one in done if (one["kind"] == "none") is is_calm] for is_calm in (False, True))
    loads = [one["load"] for one in done]
    moments = [time.gmtime(edge(one["at"] for one in done)) for edge in (min, max)]
    lines = [
        *heading,
        f"- {time.strftime('%Y-%m-%d %H:%M', moments[0])} to {time.strftime('%H:%M UTC', moments[1])}, load (1 min) "
        f"{min(loads):.2f} to {max(loads):.2f}; digits-float32, two processes of 0.3 s in each trial",
        "",
        *summary(faults, calm),
    ]
    print("\n".join(lines))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
