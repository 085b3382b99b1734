"""Take the power and the link from emulated boards in the middle of deployments, and count what is in a bad state.

    python benchmarks/power_cuts.py [--power 26] [--links 13] [--boards 3] [--seconds 280]

Boards of QEMU, side by side, are told over SSH to deploy, to deploy with a health check, to go back, and to collect
garbage. At a random moment, from the first request to a quarter of the usual time after the last answer, either QEMU is
killed and the board boots again; or its network goes, the host gives up, and the network comes back. The scenarios, and
what is a bad state, are those of benchmarks/cut_points.py: anything but the old or the new release with its own
content, the old one after "done", a next call that fails, or something left over after it; here also an error of the
file system.

Killing QEMU loses what the board had not written to its disk. What it had written is kept, flushed or not: a disk that
forgets its own cache is worse, and is not among these cuts. How often each action asks the disk to flush is counted.

Goes on where it was stopped: OUTPUT.jsonl has a line for each cut, OUTPUT.md is made of all of them. Machines are kept
in the user's cache folder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import platformdirs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.emulator import Faults, ImageRecipe, create, open_machine
from edgepress.errors import AgentError, LinkLostError
from edgepress.transport.agent_client import AgentClient
from edgepress_agent.home import Home
from support.cut_scenarios import SCENARIOS
from support.cutting import Refused
from support.device_board import ended_with_us

ROOT = Path(__file__).parents[1]
SCENARIO_NAMES = ("deploy", "healthy", "rollback", "gc")
POWER, LINK, NOTHING = "power", "link", "nothing"
PLACE = "/home/pi/cuts"  # on the board
SUPPORT = ("cut_on_board.py", "cut_scenarios.py", "cutting.py", "made_up_board.py")
AFTERWARDS = 0.25  # of an action's usual time: cuts fall also shortly after its end
ANSWER_S = 120.0
SILENCE_S = 0.2  # with the network gone, until the host gives up: the board works on, and nobody hears it


class RemoteAgent:
    """An agent on a board, asked as the scenarios ask."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client
        client.hello()

    def call(self, verb: str, blob: bytes | None = None, **params: Any) -> Any:
        try:
            return self._client._request(verb, params, blob).header["result"]
        except AgentError as error:
            raise Refused(error.code) from error


class Board:
    """One emulated board, on which one thing after another is cut."""

    def __init__(self, name: str, home: Path, inventory: Inventory) -> None:
        machines = home / "machines"
        if (machines / name).is_dir():
            self._machine = open_machine(name, machines)
        else:
            self._machine = create(name, ImageRecipe(), memory_mib=512, home=machines, inventory=inventory)
        self._faults = Faults(self._machine)
        self._machine.start()
        with Device.open(name, inventory) as device:  # brings the agent there
            agent = f"{device.hello.home}/agents/{device.hello.agent_sha256}.pyz"
            device.transport.run(["mkdir", "-p", f"{PLACE}/support"])
            device.transport.run(["tar", "-x", "-C", f"{PLACE}/support"], _support())
        self._argv = ["env", f"PYTHONPATH={PLACE}:{agent}", "python3", "-m", "support.cut_on_board", PLACE]
        self._prepared = ""
        self._connect()

    def cut(self, scenario: str, kind: str, usual_s: float, chance: random.Random) -> dict[str, Any]:
        """Do something, cut it at a random moment, and return what came of it."""
        if self._prepared != scenario:
            self._ask(f"prepare {scenario}")
        after_s = chance.uniform(0, (1 + AFTERWARDS) * usual_s)
        said, taken_s = self._act(scenario, kind, after_s)
        if said == "done":
            usual_s = taken_s
        self._link.close()
        if kind == POWER:
            self._machine.start()
        self._connect()
        found = self._ask(f"judge {scenario} {said}")
        self._ask(f"prepare {scenario}")
        self._prepared = scenario
        if errors := [line for line in self._machine.console().splitlines() if "EXT4-fs error" in line]:
            found.setdefault("bad", f"the board's kernel: {errors[0]}")
        return {"scenario": scenario, "cut": kind, "after_s": round(after_s, 3), "of_s": round(usual_s, 3), **found}

    def uncut(self, scenario: str) -> dict[str, Any]:
        """Do something to its end; return how long it takes and how often it asks the disk to flush."""
        self._ask(f"prepare {scenario}")
        before = self._flushes()
        said, taken_s = self._act(scenario)
        flushes = self._flushes() - before
        self._link.close()
        self._connect()
        found = self._ask(f"judge {scenario} {said}")
        self._prepared = ""
        return {"scenario": scenario, "cut": NOTHING, "of_s": round(taken_s, 3), "flushes": flushes, **found}

    def close(self) -> None:
        self._link.close()
        self._machine.kill()

    def _connect(self) -> None:
        self._link = self._machine.ssh()
        self._channel = self._link.open(self._argv)

    def _act(self, scenario: str, kind: str = "", after_s: float = 0.0) -> tuple[str, float]:
        """Let the agent do it; return what the host was told, and how long it took."""
        self._channel.write(b"serve\n", time.monotonic() + ANSWER_S)
        agent: Any = RemoteAgent(AgentClient(self._channel, self._machine.name))
        cut = threading.Timer(after_s, self._cut_link if kind == LINK else self._faults.power_cut)
        begun = time.monotonic()
        if kind:
            cut.start()
        try:
            SCENARIOS[scenario].act(Home(Path("/nowhere")), lambda: agent)
            said = "done"
        except Refused:
            said = "refused"
        except LinkLostError:
            said = "lost"
        taken_s = time.monotonic() - begun
        if kind:
            cut.join()
        return said, taken_s

    def _cut_link(self) -> None:
        with self._faults.link_down():
            time.sleep(SILENCE_S)
            self._link.close()

    def _flushes(self) -> int:
        with self._machine.monitor() as monitor:
            (disk,) = [device for device in monitor.execute("query-blockstats") if device["device"] == "disk"]
        return int(disk["stats"]["flush_operations"])

    def _ask(self, line: str) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_S
        self._channel.write(line.encode() + b"\n", deadline)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            piece = self._channel.read(1 << 16, deadline)
            assert piece, self._channel.last_words()
            answer += piece
        found: dict[str, Any] = json.loads(answer)
        return found


class Work:
    """What is still to be cut, shared by all boards, and what came of what was."""

    def __init__(self, lines: Path, wanted: Counter[tuple[str, str]], seconds: float) -> None:
        self._lines = lines
        self.rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        self._left = wanted - Counter((row["scenario"], row["cut"]) for row in self.rows)
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self.usual_s = {row["scenario"]: float(row["of_s"]) for row in self.rows}  # how long each takes uncut

    def next(self, scenario: str) -> tuple[str, str] | None:
        """Return the next scenario and cut, of the same scenario as long as there is one; None when it is over."""
        with self._lock:
            if not self._left or time.monotonic() > self._end:
                return None
            key = max(self._left, key=lambda key: (key[0] == scenario, self._left[key]))
            self._left -= Counter([key])
            return key

    def add(self, row: dict[str, Any]) -> None:
        with self._lock:
            self.rows.append(row)
            self.usual_s[row["scenario"]] = row["of_s"]
            with self._lines.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(row, flush=True)


def run(name: str, home: Path, inventory: Inventory, work: Work) -> None:
    """Cut on one board until nothing is left or the time is over."""
    board = Board(name, home, inventory)
    try:
        key = None
        while (key := work.next(key[0] if key else "")) is not None:
            if key[0] not in work.usual_s:
                work.add({"board": name, **board.uncut(key[0])})
            seed = time.time_ns()
            row = board.cut(*key, work.usual_s[key[0]], random.Random(seed))
            work.add({"board": name, "seed": seed, **row})
    finally:
        board.close()


def report(rows: list[dict[str, Any]]) -> str:
    kinds = Counter(row["cut"] for row in rows)
    early = Counter(row["cut"] for row in rows if row.get("outcome", "").startswith("lost"))
    boards = len({row["board"] for row in rows})
    bad = sum("bad" in row for row in rows)
    qemu = subprocess.run(["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    flushes = [f"{row['scenario']} {row['flushes']}" for row in rows if row["cut"] == NOTHING]
    lines = [
        "# Power cuts",
        "",
        f"`python benchmarks/power_cuts.py`, {qemu.splitlines()[0]}, boards: {boards} (aarch64, ext4 with "
        f"a journal, `cache=unsafe`), on {os.cpu_count()} CPUs of {platform.machine()}.",
        "",
        f"**{kinds[POWER]} power cuts and {kinds[LINK]} link cuts, {bad} bad states** (goal: 100, 50, 0). "
        f"{early[POWER]} and {early[LINK]} of them came before the last answer, the others after it.",
        "",
        "| scenario | what is cut | cuts | bad | what the host was told, and what was in use |",
        "|---|---|---:|---:|---|",
    ]
    for scenario in SCENARIO_NAMES:
        for kind in (POWER, LINK):
            these = [row for row in rows if (row["scenario"], row["cut"]) == (scenario, kind)]
            outcomes = Counter(row.get("bad", row.get("outcome")) for row in these)
            said = "; ".join(f"{what} ({count})" for what, count in sorted(outcomes.items()))
            lines.append(f"| {scenario} | {kind} | {len(these)} | {sum('bad' in row for row in these)} | {said} |")
    lines += ["", f"Flushes of the disk when nothing is cut: {', '.join(flushes)}."]
    lines += ["", (__doc__ or "").split("\n\n")[3], ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--power", type=int, default=26, help="power cuts of each scenario")
    parser.add_argument("--links", type=int, default=13, help="link cuts of each scenario")
    parser.add_argument("--boards", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=280.0, help="after which nothing is begun")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/power_cuts", help="without an ending")
    options = parser.parse_args()
    counts = {POWER: options.power, LINK: options.links}
    wanted = Counter({(scenario, kind): count for scenario in SCENARIO_NAMES for kind, count in counts.items()})
    work = Work(options.output.with_suffix(".jsonl"), wanted, options.seconds)
    home = Path(platformdirs.user_cache_dir("edgepress")) / "benchmarks" / "power_cuts"
    inventory = Inventory.load(home / "devices.toml")
    with ended_with_us(home / "machines"), ThreadPoolExecutor(options.boards) as pool:
        done = [pool.submit(run, f"cut-{number}", home, inventory, work) for number in range(options.boards)]
    for one in done:
        one.result()
    text = report(work.rows)
    print(text)
    options.output.with_suffix(".md").write_text(text)
    return 1 if any("bad" in row for row in work.rows) else 0


def _support() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in SUPPORT:
            tar.add(ROOT / "tests" / "support" / name, arcname=name)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
