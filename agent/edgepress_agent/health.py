"""Does an application work with its new release? Asked on the board, by its unit and by a command of the user's."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

from edgepress_agent import launch
from edgepress_agent.faults import Fault
from edgepress_agent.protocol.messages import HealthCheck

LONGEST_DEADLINE_S = 3600.0
_UNIT = re.compile(r"[A-Za-z0-9:_.@][A-Za-z0-9:_.@\\-]{0,254}")
_TAIL_BYTES = 4000
_POLL_S = 0.02


def check(health: HealthCheck) -> None:
    """Check what a host asks for, before anything is done.

    Raises:
        Fault: "bad-request".
    """
    if health.restart_unit is not None and not _UNIT.fullmatch(health.restart_unit):
        raise Fault("bad-request", f"{health.restart_unit[:80]!r} is not the name of a systemd unit")
    if any("\0" in word for word in health.command) or health.command[:1] == ("",):
        raise Fault("bad-request", "a health command is a program and its arguments, without NUL")
    if not 0 < health.deadline_s <= LONGEST_DEADLINE_S:
        raise Fault("bad-request", f"a health check has 0 to {LONGEST_DEADLINE_S:.0f} s; got {health.deadline_s}")


def try_out(health: HealthCheck, app: str, release: Path) -> None:
    """Restart the unit, then run the command, in the release's folder.

    The command's environment has ``EDGEPRESS_APP``, ``EDGEPRESS_RELEASE`` and ``EDGEPRESS_MODEL``.

    Raises:
        Fault: "unhealthy", with what failed and the end of what it said.
    """
    end = time.monotonic() + health.deadline_s
    if health.restart_unit is not None:
        restart(health.restart_unit, health.deadline_s)
    if health.command:
        environment = {
            "EDGEPRESS_APP": app,
            "EDGEPRESS_RELEASE": release.name,
            "EDGEPRESS_MODEL": str(release / "model.tflite"),
        }
        _succeed(list(health.command), end, environment, release)


def restart(unit: str, deadline_s: float) -> None:
    """Restart a unit of the user's systemd and see that it is active.

    Raises:
        Fault: "unhealthy".
    """
    end = time.monotonic() + deadline_s
    # Over SSH there may be no login session that says where the user's systemd listens.
    environment = {"XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"}
    for words in (["restart"], ["is-active", "--quiet"]):
        _succeed(["systemctl", "--user", *words, "--", unit], end, environment)


def _succeed(argv: List[str], end: float, environment: Mapping[str, str], folder: Optional[Path] = None) -> None:
    shown = " ".join(argv)[:200]
    try:
        status, said = _run(argv, end, {**os.environ, **environment}, folder)
    except OSError as error:
        raise Fault("unhealthy", f"{argv[0][:200]!r} cannot be started: {error.strerror}", log="") from error
    if status == 0:
        return
    how = "did not end in time" if status is None else f"failed with status {status}"
    last = said.strip().splitlines()[-1:] or ["no output"]
    raise Fault("unhealthy", f"`{shown}` {how}: {last[0][:500]}", log=said)


def _run(argv: List[str], end: float, environment: Dict[str, str], folder: Optional[Path]) -> Tuple[Optional[int], str]:
    """Return a command's status (None: it was killed at ``end``, CLOCK_MONOTONIC) and the end of its output.

    Only the command itself is waited for: what it leaves behind may keep its output open for ever.
    """
    process = subprocess.Popen(  # noqa: S603 - the check that a deployment asks for, as its user
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
        preexec_fn=launch.die_with_parent(),
    )
    assert process.stdout is not None
    said, is_open = b"", True
    with process.stdout:
        while True:
            ended, late = process.poll() is not None, time.monotonic() >= end
            piece = b""
            if not is_open:
                time.sleep(0 if ended or late else _POLL_S)
            elif select.select([process.stdout], [], [], 0 if ended or late else _POLL_S)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                is_open = bool(piece)
                said = (said + piece)[-_TAIL_BYTES:]
            if late or (ended and not piece):
                break
    status = process.poll()
    if status is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return status, said.decode("utf-8", "replace")
