"""Every call of an agent that changes something, and every frame of its link, is cut once: what is there afterwards?

Run as a program, under the library that :func:`build` makes of ``cuts.c`` (:func:`environment`)::

    python -m support.cutting FOLDER SCENARIO,... CUT,... EVERY

It forks an agent's server for each cut point, so that a point costs milliseconds, and prints a line of JSON for each
scenario and kind of cut: points, bad states, and the longest recovery.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepress_agent.home import Home
from edgepress_agent.protocol.frames import StreamEnded, encode_frame, read_frame
from edgepress_agent.server import Server
from support.made_up_board import board_on_for

HERE = Path(__file__).parent
# Kind of cut -> errno (0: SIGKILL), and whether it lasts. A full disk that lasts still takes names and links.
CALL_CUTS = {
    "kill": (0, False),
    "EIO": (errno.EIO, False),
    "ENOSPC": (errno.ENOSPC, False),
    "EIO from then on": (errno.EIO, True),
    "disk full from then on": (errno.ENOSPC, True),
}
LINK_CUTS = ("before the frame", "in the frame", "before the answer")
_PLAN = struct.Struct("qqii")
_PLAN_BYTES = _PLAN.size + 4096
_DEADLINE_S = 30


def build(folder: Path) -> Path:
    """Compile the library that makes calls fail.

    Raises:
        FileNotFoundError: no C compiler.
    """
    library = folder / "cuts.so"
    compile_ = ["cc", "-shared", "-fPIC", "-w", "-o", str(library), str(HERE / "cuts.c"), "-ldl"]
    subprocess.run(compile_, check=True, capture_output=True)
    return library


def run(folder: Path, scenarios: str, cuts: str, every: int = 1) -> list[dict[str, Any]]:
    """Run cut points in a process of their own, and return its lines.

    Args:
        folder: empty; it takes the library, homes and the agents' standard error.
        scenarios, cuts: names with commas between them.
        every: take only each so-manieth point.
    """
    plan = folder / "plan"
    plan.write_bytes(_PLAN.pack(0, -1, 0, 0).ljust(_PLAN_BYTES, b"\0"))
    environment = {
        **os.environ,
        "LD_PRELOAD": str(build(folder)),
        "EDGEPRESS_CUTS": str(plan),
        "EDGEPRESS_LOCK": str(folder / "lock"),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(folder / "runtime"), os.environ.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "support.cutting", str(folder), scenarios, cuts, str(every)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{done.stderr[-2000:]}\n{(folder / 'agents.stderr').read_text()[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Plan:
    """The plan that the library reads, of this process and of all that it starts."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), _PLAN_BYTES)

    @contextlib.contextmanager
    def armed(self, root: Path, at: int, action: int = 0, lasting: bool = False) -> Iterator[None]:
        """Count calls below ``root``, and cut the one numbered ``at`` (0: none)."""
        self._map[_PLAN.size :] = str(root).encode().ljust(4096, b"\0")
        self._map[: _PLAN.size] = _PLAN.pack(0, at, action, lasting)
        try:
            yield
        finally:
            count = self.count
            self._map[: _PLAN.size] = _PLAN.pack(count, -1, 0, 0)

    @property
    def count(self) -> int:
        return int(_PLAN.unpack(self._map[: _PLAN.size])[0])


class Refused(Exception):
    """The agent answered with an error."""


class LinkCut(Exception):
    """The link was cut on purpose."""


class ForkedAgent:
    """A server in a fork of this process, and its host's end of the link."""

    def __init__(self, home: Home, cut_frame: int = 0, cut: str = "") -> None:
        self.frames = 0
        self._cut_frame, self._cut = cut_frame, cut
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self._process_id = os.fork()
        if self._process_id == 0:
            os.close(ours_out)
            os.close(ours_in)
            status = 99
            try:
                status = Server(home, os.fdopen(theirs_in, "rb", buffering=0), os.fdopen(theirs_out, "wb")).serve()
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        os.close(theirs_in)
        os.close(theirs_out)
        self._out = os.fdopen(ours_out, "wb", buffering=0)
        self._in = os.fdopen(ours_in, "rb")

    def call(self, verb: str, blob: bytes | None = None, **params: Any) -> Any:
        self.frames += 1
        frame = encode_frame({"id": self.frames, "verb": verb, "params": params}, blob)
        if self.frames == self._cut_frame:
            part = {"before the frame": b"", "in the frame": frame[: len(frame) // 2], "before the answer": frame}
            self._out.write(part[self._cut])
            raise LinkCut
        try:
            self._out.write(frame)
        except BrokenPipeError as error:
            raise StreamEnded(mid_frame=True) from error
        answer = read_frame(self._in).header
        if "error" in answer:
            raise Refused(answer["error"]["code"])
        return answer["result"]

    def close(self) -> int:
        """End the conversation and return the server's status; negative: the signal that killed it."""
        self._out.close()
        self._in.close()
        signal.alarm(_DEADLINE_S)  # a server that does not end is a finding
        _, status = os.waitpid(self._process_id, 0)
        signal.alarm(0)
        return os.waitstatus_to_exitcode(status)


@dataclass
class Found:
    """What came of the points of one scenario and one kind of cut."""

    scenario: str
    cut: str
    points: int = 0
    bad: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_recovery_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "outcomes": dict(sorted(self.outcomes.items()))}


@dataclass(frozen=True)
class Scenario:
    """Something that an agent does.

    Attributes:
        prepare: makes a home in which it can be done.
        act: does it; may raise Refused, StreamEnded and LinkCut.
        seen: says what state is found, before anybody repairs anything; raises AssertionError for one that is none.
        old, new: the states that there may be; the new one for certain where the agent has said that it is done, the
            old one where it has said that it is not.
        recover: asks an agent as the next call would.
        settle: does it once more, to the end, and sees that nothing is left over.
    """

    name: str
    prepare: Callable[[Home], None]
    act: Callable[[Home, Callable[[], ForkedAgent]], None]
    seen: Callable[[Home], str]
    old: str
    new: str
    recover: Callable[[Home], None]
    settle: Callable[[Home], None]


@dataclass(frozen=True)
class Judged:
    """What was found after a cut: what the host had been told and what was in use, and how long the next call took."""

    outcome: str
    recovery_s: float


def judge(scenario: Scenario, home: Home, said: str, *, keeps_its_word: bool = True) -> Judged:
    """Say what a cut has left, let the next call repair it, and see that everything works again.

    Args:
        said: what the host was told: "done", "refused", or "lost" when it was told nothing.
        keeps_its_word: False where after the last rename there is no disk any more to go back on.

    Raises:
        Exception: whatever else than AssertionError comes of a call; any is a bad state.
    """
    allowed: tuple[str, ...] = (scenario.old, scenario.new)
    before = scenario.seen(home)
    assert before in allowed, f"{before} at once"
    if keeps_its_word:
        allowed = {"done": (scenario.new,), "refused": (scenario.old,)}.get(said, allowed)
    begun = time.monotonic()
    scenario.recover(home)
    recovery_s = time.monotonic() - begun
    after = scenario.seen(home)
    assert after in allowed, f"{after} after recovery, although it was {said}"
    scenario.settle(home)
    return Judged(f"{said}: {before if before == after else f'{before}, then {after}'}", recovery_s)


class Stage:
    """Runs scenarios in copies of their homes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._system = board_on_for(folder / "system", days=100)
        self._plan = Plan(folder / "plan")

    def points(self, scenario: Scenario, cut: str, every: int) -> Found:
        """Cut each ``every``-th call, or each frame in the way of ``cut``."""
        template = Home(self._folder / scenario.name)
        if not template.root.exists():
            template.root.mkdir()
            scenario.prepare(template)
        found = Found(scenario.name, cut)
        with self._home(template) as home, self._plan.armed(home.root, 0):
            agents = self._act(scenario, home)[1]
        calls, frames = self._plan.count, sum(agent.frames for agent in agents)
        for at in range(1, (frames if cut in LINK_CUTS else calls) + 1, every):
            self._point(scenario, template, cut, at, found)
        return found

    def _point(self, scenario: Scenario, template: Home, cut: str, at: int, found: Found) -> None:
        found.points += 1
        with self._home(template) as home:
            try:
                if cut in LINK_CUTS:
                    said = self._act(scenario, home, at, cut)[0]
                else:
                    with self._plan.armed(home.root, at, *CALL_CUTS[cut]):
                        said = self._act(scenario, home)[0]
                judged = judge(scenario, home, said, keeps_its_word=cut != "EIO from then on")
                found.longest_recovery_s = max(found.longest_recovery_s, judged.recovery_s)
                found.outcomes[judged.outcome] += 1
            except Exception as error:
                found.bad.append(f"{at}: {type(error).__name__}: {error}")
                traceback.print_exc()

    def _act(self, scenario: Scenario, home: Home, at: int = 0, cut: str = "") -> tuple[str, list[ForkedAgent]]:
        """Let an agent do it, with a link that is cut at a frame; return what the host was told, and the agents."""
        agents: list[ForkedAgent] = []
        said = "lost"

        def start() -> ForkedAgent:
            agents.append(ForkedAgent(home, at - sum(agent.frames for agent in agents), cut))
            return agents[-1]

        try:
            with contextlib.suppress(StreamEnded, LinkCut):
                scenario.act(home, start)
                said = "done"
        except Refused:
            said = "refused"
        finally:
            statuses = [agent.close() for agent in agents]
        assert set(statuses) <= {0, 1, -signal.SIGKILL}, f"the agent ended with {statuses}"
        return said, agents

    @contextlib.contextmanager
    def _home(self, template: Home) -> Iterator[Home]:
        root = self._folder / "home"
        subprocess.run(["cp", "-a", str(template.root), str(root)], check=True)  # with its hard links
        try:
            yield Home(root, self._system)
        finally:
            shutil.rmtree(root)


def _too_long(_number: int, _frame: object) -> None:
    raise TimeoutError(f"an agent did not end within {_DEADLINE_S} s")


def main(folder: Path, scenarios: str, cuts: str, every: int) -> None:
    from support.cut_scenarios import SCENARIOS, install_runtime

    with (folder / "agents.stderr").open("ab") as log:
        os.dup2(log.fileno(), 2)
    signal.signal(signal.SIGALRM, _too_long)
    install_runtime(folder / "runtime")
    stage = Stage(folder)
    for name in scenarios.split(","):
        for cut in cuts.split(","):
            sys.stdout.write(json.dumps(stage.points(SCENARIOS[name], cut, every).as_json()) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
