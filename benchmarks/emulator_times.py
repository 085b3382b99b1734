"""How long an emulated board takes: to build, to boot, to resume, and three of them at once.

    python benchmarks/emulator_times.py RESULT.md [--from-nothing]

Without ``--from-nothing`` the image comes from the cache. Times end at the agent's first answer (its facts).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.emulator import ImageRecipe, Machine, build_image, create, destroy
from edgepress.emulator.programs import run

ROUNDS = 3
BOARDS = 3
SMOKE = Path(__file__).parents[1] / "tests/cases/models/conv_int8.tflite"


class Report:
    """Lines of the result, written as they come."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.write_text("")

    def add(self, *lines: str) -> None:
        text = "".join(f"{line}\n" for line in lines)
        print(text, end="", flush=True)
        with self._file.open("a") as file:
            file.write(text)


def answer_s(machine: Machine, inventory: Inventory, label: str | None) -> float:
    """Switch a machine on, or resume a snapshot, until its agent has answered."""
    began = time.monotonic()
    if label is None:
        machine.start()
    else:
        machine.restore(label)
    with Device.open(machine.name, inventory) as device:
        assert device.facts.emulated
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--from-nothing", action="store_true", help="build the image in an empty cache")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report = Report(options.result)
        report.add(
            "# How long an emulated board takes",
            "",
            f"`python {' '.join(sys.argv)}`; {platform.machine()}, {os.cpu_count()} CPUs, load "
            f"{os.getloadavg()[0]:.1f} at the beginning; Python {platform.python_version()}, "
            f"{run(['qemu-system-aarch64', '--version'], 'version').splitlines()[0]}.",
            "",
            "| what | seconds |",
            "|---|---|",
        )
        cache = folder / "images" if options.from_nothing else None
        began = time.monotonic()
        build_image(ImageRecipe(), cache)
        report.add(
            f"| image, {'from nothing, downloads included' if cache else 'from the cache'} | "
            f"{time.monotonic() - began:.1f} |"
        )
        times(report, folder, cache)


def times(report: Report, folder: Path, cache: Path | None) -> None:
    """Boot, resume, and measure on three boards in one call."""
    inventory = Inventory.load(folder / "devices.toml")
    began = time.monotonic()
    machines = [
        create(f"board{number}", ImageRecipe(), home=folder / "machines", cache=cache, inventory=inventory)
        for number in range(BOARDS)
    ]
    report.add(f"| {BOARDS} machines of that image | {time.monotonic() - began:.1f} |")
    try:
        first = machines[0]
        report.add(f"| first start ever, to the agent's first answer | {answer_s(first, inventory, None):.1f} |")
        first.snapshot("ready")
        cold, warm = [], []
        for _ in range(ROUNDS):
            first.stop()
            cold.append(answer_s(first, inventory, None))
        for _ in range(ROUNDS):
            first.kill()
            warm.append(answer_s(first, inventory, "ready"))
        report.add(f"| later cold start, to the agent's first answer | {', '.join(f'{t:.1f}' for t in cold)} |")
        report.add(f"| from a snapshot, to the agent's first answer | {', '.join(f'{t:.1f}' for t in warm)} |")
        began = time.monotonic()
        for machine in machines[1:]:
            machine.start()
        report.add(f"| two more boards beside it, one after another | {time.monotonic() - began:.1f} |")
        began = time.monotonic()
        names = ",".join(machine.name for machine in machines)
        environment = {**os.environ, "EDGEPRESS_DEVICES": str(inventory.path), "EDGEPRESS_DB": str(folder / "table.db")}
        argv = [sys.executable, "-m", "edgepress.cli.main", "bench", str(SMOKE), "--device", names, "--plan", "glance"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        report.add(f"| {BOARDS} boards benchmarked in one call | {time.monotonic() - began:.1f} |")
    finally:
        for machine in machines:
            destroy(machine, inventory)
    report.add("", f"What `edgepress bench --device {names}` printed:", "", "```", done.stdout.strip(), "```")


if __name__ == "__main__":
    main()
