"""Is the memory that a row states the memory that was taken?

    python benchmarks/balloon.py

The agent's worker runs a model in LiteRT, and the same model in LiteRT with balloons: so many MiB more while it is
loaded, while its tensors are allocated (some of it given back before the first inference), and in the first inference.
What the worker says of the two must differ by the balloons, phase by phase. Writes ``results/balloon.md``.
"""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import made_up_runtimes
from platformdirs import user_cache_path
from repeatability import machine_lines
from subjects import tiny

from edgepress.benchmarking import session
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import RunReport

HERE = Path(__file__).parent
MIB = 1 << 20
GOAL_SHARE, GOAL_BYTES = 0.03, MIB
# MiB: while loading, kept; while allocating, kept; while allocating, given back; in the first inference, kept.
BALLOONS = ((4, 0, 0, 0), (0, 16, 0, 0), (8, 8, 64, 8), (0, 0, 128, 0), (0, 0, 0, 100), (200, 50, 0, 25))


def expected(load: int, allocate: int, passing: int, first: int) -> dict[str, int]:
    """What the balloons add to each figure, bytes."""
    loaded = load + allocate + passing
    kept = load + allocate + first
    return {
        "peak of load": loaded * MIB,
        "peak of first inference": kept * MIB,
        "peak": max(loaded, kept) * MIB,
        "model": max(loaded, kept) * MIB,
        "PSS at the end": kept * MIB,
    }


def figures(run: RunReport) -> dict[str, float]:
    """The medians over processes of what workers said, bytes."""
    memory = [process.memory for process in run.processes]
    return {
        "peak of load": statistics.median(one.load_peak_bytes for one in memory),
        "peak of first inference": statistics.median(one.first_peak_bytes or 0 for one in memory),
        "peak": statistics.median(one.peak_rss_bytes for one in memory),
        "model": statistics.median(one.peak_rss_bytes - one.import_rss_bytes for one in memory),
        "PSS at the end": statistics.median(one.pss_bytes or 0 for one in memory),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=user_cache_path("edgepress") / "benchmarks")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "balloon.md")
    arguments = parser.parse_args()
    home = arguments.work.resolve() / "home-balloon"
    os.environ["EDGEPRESS_HOME"] = str(home)
    versions = []
    for load, allocate, passing, first in BALLOONS:
        versions.append(f"1.{load}.{allocate}.{passing}.{first}")
        source = made_up_runtimes.BALLOON.format(load=load, allocate=allocate, passing=passing, first=first)
        made_up_runtimes.install(home, versions[-1], source)
    from edgepress.devices.device import Device

    model = tiny(arguments.work)
    plan = replace(PLANS["quick"], processes=5, min_duration_ns=20_000_000)
    with Device.open("local") as device:
        wanted = ["ai-edge-litert", *(f"{made_up_runtimes.NAME}=={version}" for version in versions)]
        report = session.measure_setups(device, [(model, Way(device.runtime(name))) for name in wanted], plan)
        session.acknowledge(device, report)
        heading = machine_lines(device, "balloon.py", "Memory against balloons of a known size")
    base, *inflated = (figures(run) for run in report.runs)
    lines = [
        *heading,
        f"- medians of {plan.processes} processes; goal: within 3 % or 1 MiB of the balloons",
        "",
        "| balloons (load, allocate, given back, first; MiB) | figure | balloons | measured | off by | goal |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for sizes, found in zip(BALLOONS, inflated, strict=True):
        for name, wanted_bytes in expected(*sizes).items():
            measured = found[name] - base[name]
            off = measured - wanted_bytes
            met = abs(off) <= max(GOAL_SHARE * wanted_bytes, GOAL_BYTES)
            lines.append(
                f"| {', '.join(map(str, sizes))} | {name} | {wanted_bytes / MIB:.0f} MiB | {measured / MIB:.2f} MiB | "
                f"{off / MIB:+.2f} MiB | {'met' if met else 'missed'} |"
            )
    print("\n".join(lines))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
