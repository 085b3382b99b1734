"""Do boards that hang, lie, or have no room hold up the others?

    python benchmarks/fleet.py --boards 20 --rounds 5
    python benchmarks/fleet.py --boards 100 --rounds 1

A fleet of ports of one OpenSSH server on loopback, each a board with a home and a lock of its own, gets a model:
pushed, run on the board, checked, switched. First all are well; then 5 % are not: one hangs without a word, the next
shows another host key, has a full disk, is slow, or loses its link in the middle. Compared is the time until the last
sound board is done; the report also says when the whole command ended. Each round has the faults in another order.
Writes its row into ``results/fleet.md``. A full disk needs root.
"""

from __future__ import annotations

import argparse
import getpass
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from counting_proxy import Proxy

from edgepress import deploying
from edgepress.deploying import Parcel
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.fleet.rollout import Staging, roll_out
from support.fleet_boards import Fleet, start_fleet

HERE = Path(__file__).parent
MODEL = HERE.parent / "tests" / "cases" / "models" / "conv_int8.tflite"
SHARE = 0.05
GOAL = 1.3
FAULTS = ("hangs", "another host key", "full disk", "slow", "loses its link")
HEADING = f"""# Many boards, some of them sick

`python benchmarks/fleet.py --boards N --rounds R`, {os.cpu_count()} CPUs of {platform.machine()} for this machine and
all boards together. A model is pushed, run on the board, checked and switched. Times are those of each round until the
last sound board was done; the ratio is of the medians. Goal: {GOAL}x with {SHARE:.0%} sick.

| boards | at a time | none sick | some sick | ratio | all ended after | the sick, and what was said of them | when |
|---|---|---|---|---|---|---|---|"""
CUT_AFTER_BYTES = 5000  # behind the login, before the end


@dataclass(frozen=True)
class Course:
    """One deployment to a fleet: when the last sound board was done, when everything ended, and what failed how."""

    sound_s: float
    all_s: float
    failures: dict[str, str]


def deploy(parcel: Parcel, inventory: Inventory, names: Sequence[str], sick: frozenset[str], parallel: int) -> Course:
    """Deploy, and note when each board was done."""
    begun = time.perf_counter()
    last_sound = 0.0

    def act(name: str) -> None:
        nonlocal last_sound
        with Device.open(name, inventory) as board:
            deploying.deliver(parcel, board)
        if name not in sick:
            last_sound = max(last_sound, time.perf_counter() - begun)

    done = roll_out(names, act, Staging(parallel, canaries=1))
    lost = [name for name in names if name not in sick and name not in done.devices("done")]
    assert not lost, f"sound boards that were not done: {lost}"
    failures = {r.device: type(r.error).__name__ for r in done.results if r.status != "done"}
    return Course(last_sound, time.perf_counter() - begun, failures)


@contextmanager
def sickness(fleet: Fleet, count: int, first: int, folder: Path) -> Iterator[dict[str, str]]:
    """Give boards, spread over the fleet, one fault after another; return which has which."""
    names = list(fleet.ports)
    chosen = [names[round((number + 0.5) * len(names) / count)] for number in range(count)]
    faults = {name: FAULTS[(first + number) % len(FAULTS)] for number, name in enumerate(chosen)}
    with ExitStack() as stack:
        for name, fault in faults.items():
            match fault:
                case "hangs":
                    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                    fleet.ports[name] = server.getsockname()[1]
                case "another host key":
                    fleet.strangers.add(name)
                case "full disk":
                    fleet.homes[name] = stack.enter_context(_full_disk(folder / f"disk-{first}-{name}")) / "home"
                case "slow":
                    fleet.ports[name] = stack.enter_context(Proxy(fleet.ports[name], delay_ms=250)).port
                case "loses its link":
                    proxy = stack.enter_context(Proxy(fleet.ports[name]))
                    proxy.cut_after(CUT_AFTER_BYTES)
                    fleet.ports[name] = proxy.port
        yield faults


@contextmanager
def _full_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    if getpass.getuser() != "root":
        raise SystemExit("a board with a full disk needs a file system of its own: run this as root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def measure(count: int, parallel: int, rounds: int, folder: Path) -> str:
    """Return the row of the report for a fleet of so many."""
    load = os.getloadavg()[0]
    fleet = start_fleet(folder / "fleet", count)
    try:
        names = list(fleet.ports)
        parcels = [deploying.pack(_variant(folder, number), "app") for number in range(2 * rounds + 1)]
        inventory = fleet.inventory(folder / "well")
        deploy(parcels.pop(), inventory, names, frozenset(), parallel)  # brings the agent to each
        well, ill, said = [], [], []
        for number in range(rounds):
            well.append(deploy(parcels.pop(), inventory, names, frozenset(), parallel))
            ports, homes = dict(fleet.ports), dict(fleet.homes)
            with sickness(fleet, max(1, round(SHARE * count)), number, folder) as faults:
                sick = fleet.inventory(folder / f"ill-{number}")
                ill.append(deploy(parcels.pop(), sick, names, frozenset(faults), parallel))
            said += [f"{fault}: {ill[-1].failures.get(name, 'done')}" for name, fault in faults.items()]
            fleet.ports, fleet.homes, fleet.strangers = ports, homes, set()
    finally:
        fleet.stop()
    ratio = statistics.median(one.sound_s for one in ill) / statistics.median(one.sound_s for one in well)
    return (
        f"| {count} | {parallel} | {_s(one.sound_s for one in well)} | {_s(one.sound_s for one in ill)} | "
        f"{ratio:.2f}x | "
        f"{_s(one.all_s for one in ill)} | {'; '.join(said)} | {time.strftime('%Y-%m-%d')}, load {load:.1f} |"
    )


def _variant(folder: Path, number: int) -> Path:
    file = folder / f"model-{number}.tflite"
    file.write_bytes(MODEL.read_bytes() + bytes(16 * (number + 1)))  # other bytes, the same network
    return file


def _s(values: Iterator[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values) + " s"


def main() -> None:
    """Measure and write the row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--boards", type=int, default=20)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        row = measure(options.boards, options.parallel, options.rounds, Path(name))
    print(row)
    file = HERE / "results" / "fleet.md"
    before = file.read_text().splitlines() if file.exists() else []
    others = [line for line in before if re.match(r"\| \d+ \|", line) and not line.startswith(f"| {options.boards} |")]
    rows = sorted([*others, row], key=lambda line: int(line.split("|")[1]))
    file.write_text("\n".join([HEADING, *rows]) + "\n")


if __name__ == "__main__":
    main()
