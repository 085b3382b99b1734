"""Does a measurement notice that it was disturbed? Scripted faults, and as many measurements without one.

    python benchmarks/detection.py --faults 300 --calm 300

A trial is one job on the device `local`: a model in two worker processes of 0.3 s each. A fault
(``scripted_faults.py``) slows the worker by a tenth or more for at least a tenth of the timed part. How much of the
timed part it covered is read from the blocks' own times; a trial in which it was less than a tenth is done again. A
fault is missed if the row is called `stable` and no block is marked.

A machine that others share is not calm, and a trial without a fault may well be disturbed there. So each of these has
a control: two processes of the same length with a bare loop around LiteRT's interpreter, on the same CPU, right after
it. The control is disturbed if more than a tenth of its windows of 25 ms are 5 % slower than the quiet quarter of them.

Trials are kept as lines of JSON in the work folder: an interrupted run goes on where it was. Writes
``results/detection.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path
from repeatability import machine_lines
from scripted_faults import MADE_UP, NAMES, REAL, Board, Fault, Window, make_root, nothing
from subjects import digits

from edgepress.benchmarking import session
from edgepress.benchmarking.interference import find_interference
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.verdict import judge_run

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import RunReport
    from edgepress_converters.model import TFLiteModel

HERE = Path(__file__).parent
LEAST_COVER = 0.10
WINDOW_NS = 25_000_000

PLAN = replace(
    PLANS["quick"], name="detection", processes=2, warmup_min_ns=10_000_000, min_duration_ns=300_000_000, cool_to_c=None
)


def cover(run: RunReport, windows: list[Window]) -> float:
    """Which part of the timed time lies in the windows of a fault."""
    blocks = [(block.started_ns, block.ended_ns) for process in run.processes for block in process.blocks]
    total = sum(ended - begun for begun, ended in blocks)
    inside = sum(max(0, min(ended, close) - max(begun, open_)) for begun, ended in blocks for open_, close in windows)
    return inside / total


def bare_loops_disturbed(board: Board, model: TFLiteModel) -> bool:
    """Whether loops without edgepress meet a disturbance on the worker's CPU just now."""
    python = board.device.runtime().python
    command = [python, str(HERE / "control_process.py"), "interpreter", str(model.path)]
    command += ["--threads", "1", "--warmup", "300", "--runs", "3000"]
    medians = []
    for _ in range(PLAN.processes):
        pin = lambda: os.sched_setaffinity(0, board.cpus)  # noqa: E731 - for the child alone
        done = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=pin)
        samples = np.asarray(json.loads(done.stdout.splitlines()[-1]))
        windows = np.cumsum(samples) // WINDOW_NS
        medians += [float(np.median(samples[windows == window])) for window in np.unique(windows)]
    quiet = float(np.quantile(medians, 0.25))
    return float(np.mean(np.asarray(medians) > 1.05 * quiet)) > 0.10


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
        "bare_disturbed": kind == "none" and bare_loops_disturbed(board, model),
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
        bare = sum(one["bare_disturbed"] for one in calm)
        calmer = [one for one in calm if not one["bare_disturbed"]]
        lines += [
            f"- Without a fault, {len(calm)} trials: {len(alarms)} not stable ({len(alarms) / len(calm):.1%}; goal: at "
            f"most 1 % on a calm machine): {why}.",
            f"- The bare loops right after them: {bare} of {len(calm)} disturbed ({bare / len(calm):.1%}). Where they "
            f"were not: {sum(one['verdict'] != 'stable' for one in calmer)} of {len(calmer)} trials not stable.",
        ]
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
