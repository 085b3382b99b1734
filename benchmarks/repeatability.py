"""Do the numbers repeat, and are differences claimed only where there are some?

    python benchmarks/repeatability.py --sessions 23

Each session is one job on the device `local`: four models, and one of them once more in a runtime that is 5 % slower on
purpose, all interleaved. Sessions are kept as lines of JSON in the work folder: an interrupted run goes on where it
was. Then: between-session variation of the median of rows called stable; the same comparisons as `bench --compare`
makes, of every two recorded sessions of a model (A/A, and with 5 % added to one side), and of the slowed runtime with
the real one inside each session; and sessions with a busy neighbour pinned to the worker's CPU. Writes
``results/repeatability.md``.
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
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import made_up_runtimes
from platformdirs import user_cache_path
from subjects import digits, mobilenet, mobilenet_int8, mobilenet_small

from edgepress.benchmarking import session
from edgepress.benchmarking.comparison import Claim, compare_runs, judge_ratio
from edgepress.benchmarking.interference import find_interference, kept_samples
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way
from edgepress.benchmarking.statistics import paired_ratio, summarize
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


def compare_sessions(sessions: list[Any], factor: float, stable: bool) -> list[tuple[str, Claim]]:
    """Compare the two rows of a model in every two sessions, both called stable or at least one of them not; the later
    one takes ``factor`` times as long."""
    pairs = [
        (model, samples_of(a), samples_of(b))
        for model in SUBJECTS
        for a, b in combinations([row for one in sessions for row in one["rows"] if row["model"] == model], 2)
        if (a["verdict"] == b["verdict"] == "stable") is stable
    ]
    chosen = random.Random(0).sample(pairs, min(COMPARISONS, len(pairs)))
    claims = []
    for model, a, b in chosen:
        rounds = min(len(a), len(b))
        slower = [[round(sample * factor) for sample in samples] for samples in b[:rounds]]
        claims.append((model, judge_ratio(paired_ratio(slower, a[:rounds]), None).claim))
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


def conclusions(sessions: list[Any], busy: list[Any]) -> list[str]:
    """The figures, line by line."""
    rows = [row for one in sessions for row in one["rows"] if " slowed" not in row["model"]]
    stable = sum(row["verdict"] == "stable" for row in rows)
    reasons = [reason for row in rows for reason in row["reasons"]]
    lines = []
    for stable_ones in (True, False):
        aa, slow = (compare_sessions(sessions, factor, stable_ones) for factor in (1.0, 1 + SLOWDOWN))
        false_slower = sum(claim is Claim.SLOWER for _, claim in aa)
        false_any = sum(claim is not Claim.NONE for _, claim in aa)
        found = sum(claim is Claim.SLOWER for _, claim in slow)
        which = "both rows stable" if stable_ones else "at least one row not stable, which its verdict says"
        goals = (" (goal: at most 3 in 1,000)", " (goal: 95 %)") if stable_ones else ("", "")
        share = f" ({found / len(slow):.1%})" if slow else ""
        lines.append(
            f"- A/A, recorded sessions of a model paired round by round, {which}: {false_slower} false regressions in "
            f"{len(aa)} pairs{goals[0]}, {false_any} false claims of either kind. With 5 % added to one side: found in"
            f" {found} of {len(slow)}{share}{goals[1]}."
        )
    inside = [claim for one in sessions for _, claim in one["slowed"].values()]
    ratios = [ratio for one in sessions for ratio, _ in one["slowed"].values()]
    calm = {model: statistics.median(r["p50_ns"] for r in rows if r["model"] == model) for model in SUBJECTS}
    busy_rows = [row for one in busy for row in one["rows"]]
    called = sum(row["verdict"] != "stable" for row in busy_rows)
    lies = [r for r in busy_rows if r["verdict"] == "stable" and abs(r["p50_ns"] / calm[r["model"]] - 1) > 0.02]
    spent, watched = (sum(row["monitor"][i] for row in rows) for i in (0, 1))
    lines.insert(
        0,
        f"- Rows called stable: {stable} of {len(rows)} ({stable / len(rows):.0%}; goal 70 % on an idle machine). "
        "Reasons of the others: "
        + (", ".join(f"{why} {reasons.count(why)}" for why in sorted(set(reasons))) or "none")
        + ".",
    )
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
    quiet, busy = arguments.work / "repeatability.jsonl", arguments.work / "repeatability-busy.jsonl"
    count, processes = arguments.sessions, arguments.processes
    with Device.open("local") as device:
        if arguments.only_report:
            sessions, neighbours = recorded(quiet), recorded(busy)
        else:
            sessions = take(quiet, count, lambda number: run_session(device, models, processes, number, True))
            neighbours = take(busy, arguments.busy, lambda number: busy_session(device, models, processes, number))
        heading = machine_lines(device, "repeatability.py", "Repeatability, false alarms and found slowdowns")
    loads = [one["load"] for one in sessions]
    begun, ended = (time.gmtime(sessions[index]["at"]) for index in (0, -1))
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
        *conclusions(sessions, neighbours),
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
