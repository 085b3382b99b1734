"""The far half of benchmarks/power_cuts.py: on a board, it makes homes to be cut in and says what a cut has left there.

``python3 -m support.cut_on_board FOLDER``, with this folder's parent and the agent on PYTHONPATH. Standard input has
lines ``judge SCENARIO SAID`` and ``prepare SCENARIO``, each answered by a line of JSON, and ``serve``: from then on
this is an agent like any other. To start a second Python takes seconds there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

from edgepress_agent.home import Home
from edgepress_agent.server import serve
from support import cutting
from support.cut_scenarios import SCENARIOS
from support.made_up_board import board_on_for

_AGENT_ENDS_S = 30.0


def prepare(folder: Path, home: Home, name: str) -> dict[str, object]:
    """Make a home one in which the scenario can be done, and see to it that it outlasts the power."""
    template = folder / "templates" / name
    if not (folder / "system").exists():
        board_on_for(folder / "system", days=100)
    if not template.exists():
        making = folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        SCENARIOS[name].prepare(Home(making))
        template.parent.mkdir(exist_ok=True)
        making.rename(template)
    shutil.rmtree(home.root, ignore_errors=True)
    subprocess.run(["cp", "-a", str(template), str(home.root)], check=True)  # with its hard links
    os.sync()
    return {}


def judge(home: Home, name: str, said: str) -> dict[str, object]:
    """Return what was found in a home: "bad" is there when it may not be."""
    try:
        _wait_for_agent()
        judged = cutting.judge(SCENARIOS[name], home, said)
    except Exception as error:
        traceback.print_exc()
        return {"bad": f"{type(error).__name__}: {error}"}
    return {"outcome": judged.outcome, "recovery_s": round(judged.recovery_s, 3)}


def _wait_for_agent() -> None:
    """Wait until the agent whose link was cut has seen it and has ended, as it must."""
    end = time.monotonic() + _AGENT_ENDS_S
    while any(_is_such(process) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < end, f"the agent still runs {_AGENT_ENDS_S:g} s after its link was cut"
        time.sleep(0.05)


def _is_such(process: Path) -> bool:
    """Whether a process is another one of this program."""
    try:
        return process.name != str(os.getpid()) and b"support.cut_on_board" in (process / "cmdline").read_bytes()
    except OSError:  # it has just ended, or is somebody else's
        return False


def main(folder: Path) -> int:
    home = Home(folder / "home", folder / "system")
    lines = os.fdopen(os.dup(0), "rb", buffering=0)  # which takes nothing of what comes after "serve"
    for line in iter(lines.readline, b"serve\n"):
        verb, *words = line.decode().split()
        found = judge(home, *words) if verb == "judge" else prepare(folder, home, *words)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    return serve(home)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
