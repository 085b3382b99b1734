"""Do the numbers repeat, and are differences claimed only where there are some?

    python benchmarks/repeatability.py --sessions 23

Each session is one job on the device `local`: four models, and one of them once more in a runtime that is 5 % slower on
purpose, all interleaved. Twins are jobs as `bench --compare` makes them, of a model against itself. Both are kept as
lines of JSON in the work folder: an interrupted run goes on where it was. Then: between-session variation of the median
of rows called stable; the claims of `bench --compare` about recorded twins (which of the two of a round is called A is
drawn anew for each comparison), and with 5 % added to one side; about the slowed runtime and the real one; the claims
of `edgepress compare` about every two sessions of a model; and sessions with a busy neighbour pinned to the worker's
CPU. Writes ``results/repeatability.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import made_up_runtimes
from platformdirs import user_cache_path
from subjects import digits, mobilenet, mobilenet_int8, mobilenet_small

from edgepress.benchmarking import session
from edgepress.benchmarking.comparison import LEAST_ROUNDS, Claim, compare_runs, judge_ratio
from edgepress.benchmarking.floor import DEFAULT_FLOOR
from edgepress.benchmarking.interference import find_interference, kept_samples
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way
from edgepress.benchmarking.statistics import independent_ratio, paired_ratio, summarize
from edgepress.benchmarking.verdict import judge_run
from edgepress.table.units import format_duration

if TYPE_CHECKING:
    from edgepress.devices.device import Device
    from edgepress_converters.model import TFLiteModel

HERE = Path(__file__).parent
SLOWDOWN = 0.05
LONG_NS = 1_000_000
COMPARISONS = 1000

SUBJECTS: dict[str, Callable[[Path], TFLiteModel]] = {
    "digits-int8": lambda folder: digits(folder, "int8"),
    "mobilenet_v2_035_160-float32": mobilenet_small,
    "mobilenet_v2-int8": mobilenet_int8,
    "mobilenet_v2-float32": mobilenet,
}
SLOWED = ("digits-int8",)
BUSY = "while True: pass"


def run_session(device: Device, models: dict[str, TFLiteModel], processes: int, seed: int, slowed: bool) -> Any:
    """One job; return for each setup what the row says and the samples by round."""
    real = device.runtime("ai-edge-litert")
    setups = [(name, "", Way(real)) for name in models]
    if slowed:
        setups += [(name, " slowed", Way(device.runtime(made_up_runtimes.NAME))) for name in SLOWED]
    plan = replace(PLANS["quick"], processes=processes, seed=seed)
    report = session.measure_setups(device, [(models[name], way) for name, _, way in setups], plan)
    session.acknowledge(device, report)
    rows = []
    for (name, suffix, _), run in zip(setups, report.runs, strict=True):
        verdict = judge_run(run, report.states)
        kept = kept_samples(run, find_interference(run))
        rows.append(
            {
                "model": name + suffix,
                "p50_ns": summarize(run).p50_ns,
                "verdict": str(verdict.name),
                "reasons": [reason.code for reason in verdict.reasons],
                "causes": find_interference(run, report.states).shares if verdict.reasons else {},
                "cpus": list(run.processes[0].cpus),
                "monitor": [sum(p.monitor_cpu_ns for p in run.processes), sum(p.monitored_ns for p in run.processes)],
                "rounds": {p.index: samples for p, samples in zip(run.processes, kept, strict=True) if samples},
            }
        )
    runs = dict(zip((name + suffix for name, suffix, _ in setups), report.runs, strict=True))
    claims = {name: compare_runs(runs[name], runs[f"{name} slowed"], None) for name in SLOWED} if slowed else {}
    compared = {name: [found.ratio.value, str(found.claim)] for name, found in claims.items()}
    return {"at": time.time(), "load": os.getloadavg()[0], "rows": rows, "slowed": compared}


def recorded(file: Path) -> list[Any]:
    """The sessions that are there already."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def take(file: Path, wanted: int, run: Callable[[int], Any]) -> list[Any]:
    """Bring a file of sessions to the wanted number; return them."""
    done = recorded(file)
    for number in range(len(done), wanted):
        done.append(json.loads(json.dumps(run(number))))
        with file.open("a") as stream:
            stream.write(json.dumps(done[-1]) + "\n")
        print(f"\r{file.stem}: {number + 1} of {wanted}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return done[:wanted]


def busy_session(device: Device, models: dict[str, TFLiteModel], processes: int, seed: int) -> Any:
    """A session beside a loop that never rests, on the CPU that workers are pinned to."""
    cpus = run_session(device, dict(list(models.items())[:1]), 1, seed, False)["rows"][0]["cpus"]
    pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    with subprocess.Popen([sys.executable, "-c", BUSY], preexec_fn=pin) as neighbour:
        try:
            return run_session(device, models, processes, seed, False)
        finally:
            neighbour.kill()


def samples_of(row: Any) -> list[list[int]]:
    """The samples of a row by round."""
    return [row["rounds"][key] for key in sorted(row["rounds"], key=int)]


def twins(device: Device, models: dict[str, TFLiteModel], seed: int) -> Any:
    """Every model against itself, each in a job of its own, as `bench --compare` measures two files."""
    way = Way(device.runtime("ai-edge-litert"))
    plan = replace(PLANS["quick"], processes=LEAST_ROUNDS, seed=seed)
    rows = []
    for name, model in models.items():
        report = session.measure_setups(device, [(model, way), (model, way)], plan)
        session.acknowledge(device, report)
        kept = [kept_samples(run, find_interference(run)) for run in report.runs]
        stable = all(judge_run(run, report.states).name == "stable" for run in report.runs)
        pairs = [pair for pair in zip(*kept, strict=True) if all(pair)]
        rows.append({"model": name, "stable": stable, "pairs": pairs})
    return {"at": time.time(), "load": os.getloadavg()[0], "rows": rows}


def claims_of_twins(recorded_twins: list[Any], factor: float, stable: bool) -> list[Claim]:
    """What `bench --compare` would claim of each twin, were a row that is not stable no reason to be silent; B takes
    ``factor`` times as long."""
    rows = [row for one in recorded_twins for row in one["rows"] if row["stable"] is stable]
    draw = random.Random(0)
    claims = []
    for number in range(COMPARISONS if rows else 0):
        drawn = [pair if draw.random() < 0.5 else pair[::-1] for pair in rows[number % len(rows)]["pairs"]]
        slower = [[round(sample * factor) for sample in b] for _, b in drawn]
        claims.append(judge_ratio(paired_ratio(slower, [a for a, _ in drawn]), None).claim)
    return claims


def claims_between_sessions(sessions: list[Any]) -> list[bool]:
    """Whether `edgepress compare` would call the later of two stable rows of a model slower, on a device that was never
    calibrated."""
    claims = []
    for model in SUBJECTS:
        rows = [row for one in sessions for row in one["rows"] if row["model"] == model and row["verdict"] == "stable"]
        for a, b in combinations(rows, 2):
            ratio = independent_ratio(samples_of(b), samples_of(a))
            claims.append(ratio.low > 1 and ratio.value > 1 + DEFAULT_FLOOR)
    return claims


def variation_lines(sessions: list[Any]) -> list[str]:
    """Between-session variation by model, of all rows and of the stable ones."""
    lines = [
        "| model | median of sessions | stable | variation, stable rows | range, stable rows | variation, all rows |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model in SUBJECTS:
        rows = [row for one in sessions for row in one["rows"] if row["model"] == model]
        stable = [row["p50_ns"] for row in rows if row["verdict"] == "stable"]
        everything = [row["p50_ns"] for row in rows]
        span = f"{min(stable) / 1e3:,.1f} to {max(stable) / 1e3:,.1f} µs" if stable else "-"
        lines.append(
            f"| {model} | {format_duration(round(statistics.median(everything)))} | {len(stable)} of {len(rows)} | "
            f"{variation(stable)} | {span} | {variation(everything)} |"
        )
    return lines


def variation(values: list[int]) -> str:
    """Coefficient of variation."""
    return f"{statistics.stdev(values) / statistics.mean(values):.2%}" if len(values) > 1 else "-"


def conclusions(sessions: list[Any], recorded_twins: list[Any], busy: list[Any]) -> list[str]:
    """The figures, line by line."""
    rows = [row for one in sessions for row in one["rows"] if " slowed" not in row["model"]]
    stable = sum(row["verdict"] == "stable" for row in rows)
    reasons = [reason for row in rows for reason in row["reasons"]]
    causes = Counter(next(iter(row["causes"]), "none") for row in rows if row["reasons"])
    lines = [
        f"- Rows called stable: {stable} of {len(rows)} ({stable / len(rows):.0%}; goal 70 % on an idle machine). "
        "Reasons of the others: "
        + (", ".join(f"{why} {reasons.count(why)}" for why in sorted(set(reasons))) or "none")
        + "; what most of their marked blocks show: "
        + (", ".join(f"{cause} {count}" for cause, count in causes.most_common()) or "nothing")
        + "."
    ]
    measured = [row for one in recorded_twins for row in one["rows"]]
    for stable_ones in (True, False):
        aa, slow = (claims_of_twins(recorded_twins, factor, stable_ones) for factor in (1.0, 1 + SLOWDOWN))
        if not aa:
            continue
        which = "both rows stable" if stable_ones else "a row not stable, so nothing is claimed; it would have been"
        goals = (" (goal: at most 3)", " (goal: 95 %)") if stable_ones else ("", "")
        lines.append(
            f"- A/A in one session, {sum(row['stable'] is stable_ones for row in measured)} recorded of "
            f"{len(measured)}, {which}: {aa.count(Claim.SLOWER)} false regressions in {len(aa)} "
            f"comparisons{goals[0]}, {aa.count(Claim.FASTER)} false gains. With 5 % added to B: found in "
            f"{slow.count(Claim.SLOWER)} of {len(slow)}{goals[1]}."
        )
    between = claims_between_sessions(sessions)
    lines.append(
        "- A/A between sessions, every two stable rows of a model as `edgepress compare` judges them with its floor of "
        f"{DEFAULT_FLOOR:.0%}: {sum(between)} false regressions in {len(between)} pairs."
    )
    inside = [claim for one in sessions for _, claim in one["slowed"].values()]
    ratios = [ratio for one in sessions for ratio, _ in one["slowed"].values()]
    calm = {model: statistics.median(r["p50_ns"] for r in rows if r["model"] == model) for model in SUBJECTS}
    busy_rows = [row for one in busy for row in one["rows"]]
    called = sum(row["verdict"] != "stable" for row in busy_rows)
    lies = [r for r in busy_rows if r["verdict"] == "stable" and abs(r["p50_ns"] / calm[r["model"]] - 1) > 0.02]
    spent, watched = (sum(row["monitor"][i] for row in rows) for i in (0, 1))
    if inside:
        lines.append(
            f"- A runtime that really takes 5 % longer, inside a session: found in {inside.count('slower')} of "
            f"{len(inside)} (measured ratios {min(ratios):.3f} to {max(ratios):.3f})."
        )
    if busy_rows:
        lines.append(
            f"- With a busy neighbour on the worker's CPU, {len(busy)} sessions: {called} of {len(busy_rows)} rows "
            f"were not called stable; {len(lies)} were called stable and were off by more than 2 %."
        )
    return [*lines, f"- The monitor's own CPU time: {spent / watched:.3%} of the workers' lives."]


def main() -> None:
    """Measure what is missing and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=23)
    parser.add_argument("--twins", type=int, default=12, help="jobs of each model against itself")
    parser.add_argument("--busy", type=int, default=3, help="sessions beside a busy neighbour")
    parser.add_argument("--processes", type=int, default=6, help="of each setup in a session")
    parser.add_argument("--work", type=Path, default=user_cache_path("edgepress") / "benchmarks")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "repeatability.md")
    parser.add_argument("--only-report", action="store_true", help="of the sessions that are there")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    home = arguments.work.resolve() / "home-repeatability"
    os.environ["EDGEPRESS_HOME"] = str(home)
    made_up_runtimes.install(home, "9.5.0", made_up_runtimes.SLOWED.format(share=SLOWDOWN))
    from edgepress.devices.device import Device

    models = {name: make(arguments.work) for name, make in SUBJECTS.items()}
    quiet, twin, busy = (arguments.work / f"repeatability{which}.jsonl" for which in ("", "-twins", "-busy"))
    count, processes = arguments.sessions, arguments.processes
    with Device.open("local") as device:
        if arguments.only_report:
            sessions, pairs, neighbours = recorded(quiet), recorded(twin), recorded(busy)
        else:
            sessions = take(quiet, count, lambda number: run_session(device, models, processes, number, True))
            pairs = take(twin, arguments.twins, lambda number: twins(device, models, number))
            neighbours = take(busy, arguments.busy, lambda number: busy_session(device, models, processes, number))
        heading = machine_lines(device, "repeatability.py", "Repeatability, false alarms and found slowdowns")
    loads = [one["load"] for one in (*sessions, *pairs)]
    begun, ended = (time.gmtime(edge(one["at"] for one in (*sessions, *pairs))) for edge in (min, max))
    lines = [
        *heading,
        f"- {len(sessions)} sessions of plan quick with {processes} processes, from "
        f"{time.strftime('%Y-%m-%d %H:%M', begun)} to {time.strftime('%H:%M UTC', ended)}; load (1 min) "
        f"{min(loads):.2f} to {max(loads):.2f}",
        "",
        *variation_lines(sessions),
        "",
        f"Goal: variation of at most 2 % of rows that are called stable and take {LONG_NS // 10**6} ms or more.",
        "",
        *conclusions(sessions, pairs, neighbours),
    ]
    print("\n".join(lines))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def machine_lines(device: Device, script: str, title: str) -> list[str]:
    """The command, the versions and the machine."""
    from importlib.metadata import version

    facts, runtime = device.facts, device.runtime("ai-edge-litert")
    return [
        f"# {title}",
        "",
        f"    python benchmarks/{script} {shlex.join(sys.argv[1:])}".rstrip(),
        "",
        f"- edgepress {version('edgepress')}, {runtime.name} {runtime.version}, Python {runtime.python_version}",
        f"- {facts.cpu_model}, {facts.cpu_count} CPUs, {facts.machine}, Linux {facts.kernel}, governor "
        f"{facts.governor or 'not readable'}",
    ]


if __name__ == "__main__":
    main()
