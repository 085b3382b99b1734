"""Is the agent's number the runtime's own? The agent's median latency against plain loops around LiteRT's APIs.

    python benchmarks/agent_overhead.py --pairs 20

Each round runs one fresh process of each measurer, in random order: the agent (a job on the device `local`, with one
worker process), the two controls (``control_process.py``: Interpreter and CompiledModel), and, where a run takes 1 ms
or more, LiteRT's ``benchmark_litert_model``. Same file, runtime, threads, warm-up and number of runs. The ratio is that
of the medians of all samples, its 95 % interval is bootstrapped over rounds. Writes ``results/agent_overhead.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path
from subjects import digits, mobilenet, tiny

from edgepress.benchmarking import session
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.statistics import paired_ratio
from edgepress.table.units import format_duration
from edgepress_agent.protocol.messages import BenchmarkPlan

if TYPE_CHECKING:
    from edgepress.devices.device import Device
    from edgepress_converters.model import TFLiteModel

HERE = Path(__file__).parent
LONG_RUN_NS = 1_000_000
GOAL_LONG = 0.03
GOAL_SHORT, GOAL_SHORT_NS = 0.05, 1000

AGENT, LITERT_TOOL = "agent", "benchmark_litert_model"
CONTROLS = {"interpreter": "Interpreter", "compiled-model": "CompiledModel"}


@dataclass(frozen=True)
class Subject:
    """A model with the length of one process."""

    name: str
    file: Callable[[Path], TFLiteModel]
    warmup: int
    runs: int


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("digits-float32", lambda folder: digits(folder, "float32"), warmup=300, runs=3000),
        Subject("digits-int8", lambda folder: digits(folder, "int8"), warmup=300, runs=3000),
        Subject("tiny-float32", tiny, warmup=2000, runs=10000),
        Subject("mobilenet_v2-float32", mobilenet, warmup=10, runs=60),
    )
}


def agent_samples(device: Device, model: TFLiteModel, subject: Subject, threads: int, name: str | None) -> list[int]:
    """One worker process of the agent, by a plan that ships; without a name by one that does nothing but time."""
    plan = BenchmarkPlan("one-process", 1, subject.warmup, 0, subject.runs, 0, 60 * 10**9, 0, 120.0, 300.0)
    if name is not None:
        lengths: dict[str, Any] = {"processes": 1, "max_processes": None, "target_half_width": None}
        lengths |= {"warmup_min_runs": subject.warmup, "warmup_min_ns": 0}
        lengths |= {"min_runs": subject.runs, "min_duration_ns": 0, "max_duration_ns": 60 * 10**9}
        between = min(PLANS[name].untimed_between_ns, 50_000_000)  # of `sustained`: the load alone, without the wait
        plan = replace(PLANS[name], **lengths, untimed_between_ns=between)
    report = session.measure(device, [model], plan, threads=threads)
    session.acknowledge(device, report)
    samples = list(session.require_samples(report.runs[0], device.name).processes[0].samples_ns)
    assert len(samples) == subject.runs, f"the agent took {len(samples)} samples, not {subject.runs}"
    return samples


def control_samples(api: str, python: str, model: TFLiteModel, subject: Subject, threads: int) -> list[int]:
    """One process of a control."""
    command = [python, str(HERE / "control_process.py"), api, str(model.path)]
    command += ["--threads", str(threads), "--warmup", str(subject.warmup), "--runs", str(subject.runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    samples: list[int] = json.loads(done.stdout.splitlines()[-1])
    return samples


def tool_samples(python: str, model: TFLiteModel, subject: Subject, threads: int) -> list[int]:
    """One process of LiteRT's tool: it gives its median only, which stands for its samples."""
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        command = [python, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={model.path}"]
        command += [f"--num_runs={subject.runs}", f"--warmup_runs={subject.warmup}", f"--num_threads={threads}"]
        subprocess.run([*command, f"--result_json={result.name}"], check=True, capture_output=True)
        found = json.load(result)
    return [round(1e6 * found["latency"]["median_ms"])]


def measure(
    device: Device, model: TFLiteModel, subject: Subject, pairs: int, threads: int, plans: Sequence[str]
) -> dict[str, list[list[int]]]:
    """Run all rounds; return the samples of each measurer by round."""
    python = device.runtime().python
    measurers: dict[str, Callable[[], list[int]]] = {
        AGENT: lambda: agent_samples(device, model, subject, threads, None),
        **{
            f"plan {name}": (lambda name=name: agent_samples(device, model, subject, threads, name))  # type: ignore[misc]
            for name in plans
        },
        **{
            api: (lambda api=api: control_samples(api, python, model, subject, threads))  # type: ignore[misc]
            for api in CONTROLS
        },
    }
    trial = measurers["interpreter"]()
    if sorted(trial)[len(trial) // 2] >= LONG_RUN_NS:
        measurers[LITERT_TOOL] = lambda: tool_samples(python, model, subject, threads)
    taken: dict[str, list[list[int]]] = {name: [] for name in measurers}
    order = random.Random(0)
    for round_ in range(pairs):
        for name in order.sample(sorted(measurers), len(measurers)):
            taken[name].append(measurers[name]())
        print(f"\r{subject.name}: round {round_ + 1} of {pairs}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return taken


def bound(control_ns: float) -> float:
    """How far the ratio's interval may be from 1."""
    return GOAL_LONG if control_ns >= LONG_RUN_NS else GOAL_SHORT + GOAL_SHORT_NS / control_ns


def line(subject: Subject, name: str, taken: dict[str, list[list[int]]]) -> str:
    """One line of the table of results."""
    measured = name if name.startswith("plan ") else AGENT
    name = "interpreter" if measured != AGENT else name
    ratio = paired_ratio(taken[measured], taken[name])
    control_ns = median([median(samples) for samples in taken[name]])
    allowed = bound(control_ns)
    missed = max(ratio.high - 1 - allowed, 1 - allowed - ratio.low)
    goal = f"±{allowed:.1%}"
    verdict = "met" if missed <= 0 else f"missed by {missed:.1%}"
    return (
        f"| {subject.name} | {measured} | {CONTROLS.get(name, name)} | {spread(taken[measured])} | "
        f"{spread(taken[name])} | "
        f"{ratio.value:.3f} | {ratio.low:.3f} to {ratio.high:.3f} | {goal} | {verdict} |"
    )


def median(values: Sequence[float]) -> float:
    """The middle value, the lower one of two."""
    return sorted(values)[(len(values) - 1) // 2]


def spread(by_round: Sequence[Sequence[int]]) -> str:
    """The median of all processes' medians, and the smallest and largest of them."""
    medians = [round(median(samples)) for samples in by_round]
    middle, low, high = (format_duration(value) for value in (round(median(medians)), min(medians), max(medians)))
    return f"{middle} ({low} to {high})"


def heading(device: Device, arguments: argparse.Namespace) -> list[str]:
    """The command, the versions and the machine: what it takes to do it again."""
    facts = device.facts
    runtime = device.runtime()
    governor = facts.governor or "not readable"
    return [
        "# The agent's median against LiteRT's own APIs",
        "",
        f"    python benchmarks/agent_overhead.py {shlex.join(sys.argv[1:])}".rstrip(),
        "",
        f"- edgepress {version('edgepress')}, {runtime.name} {runtime.version}, numpy {runtime.numpy_version}, "
        f"Python {runtime.python_version}",
        f"- {facts.cpu_model}, {facts.cpu_count} CPUs, {facts.machine}, Linux {facts.kernel}, governor {governor}, "
        f"{platform.freedesktop_os_release().get('PRETTY_NAME', '')}",
        f"- {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, load before: {os.getloadavg()[0]:.2f}; "
        f"{arguments.threads} thread(s), {arguments.pairs} rounds of one fresh process each, in random order",
        "",
        f"Goal: the 95 % interval of the ratio of medians (agent / control) within ±{GOAL_LONG:.0%} of 1 where a run "
        f"takes 1 ms or more, within ±({GOAL_SHORT:.0%} + {GOAL_SHORT_NS // 1000} µs) below. Times are medians of the "
        "processes' medians (smallest to largest process).",
        "",
        "| model | agent | control | agent's time | control's time | ratio | 95 % interval | goal | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20, help="rounds; two or more (default: 20)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--subject", action="append", choices=SUBJECTS, help="repeatable (default: all)")
    parser.add_argument(
        "--work",
        type=Path,
        default=user_cache_path("edgepress") / "benchmarks",
        help="where models and the agent's home are kept (default: the user's cache folder)",
    )
    parser.add_argument("--output", type=Path, default=HERE / "results" / "agent_overhead.md")
    parser.add_argument("--plan", action="append", choices=PLANS, default=[], help="repeatable: time by it as well")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("EDGEPRESS_HOME", str(arguments.work.resolve() / "home"))
    from edgepress.devices.device import Device

    chosen = [SUBJECTS[name] for name in arguments.subject or SUBJECTS]
    models = {subject.name: subject.file(arguments.work) for subject in chosen}
    with Device.open("local") as device:
        lines = heading(device, arguments)
        for subject in chosen:
            taken = measure(device, models[subject.name], subject, arguments.pairs, arguments.threads, arguments.plan)
            lines += [line(subject, name, taken) for name in taken if name != AGENT]
    print("\n".join(lines))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
