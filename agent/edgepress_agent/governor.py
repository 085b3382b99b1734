"""The CPU governor "performance" for as long as a job measures, and back whatever happens.

Only where the user allowed it (``edgepress device add --allow-sudo``), by ``sudo -n``: nothing ever asks for a
password. What was there before is written to a record, durably, before anything is changed. The record outlives a job
that was killed: the next agent or job that starts while no job holds the board undoes it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Dict, Optional

from edgepress_agent.board_state import read_text
from edgepress_agent.durable import replace_file
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import WireError, dumps, loads

WANTED = "performance"
SUDO_TIMEOUT_S = 10.0
_POLICIES = "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_BOOT_ID = "proc/sys/kernel/random/boot_id"


def read_governors(root: Path = Path("/")) -> Dict[str, str]:
    """Return the governor by file (below the root); empty where there is no cpufreq."""
    texts = ((path, read_text(path)) for path in sorted(root.glob(_POLICIES)))
    return {str(path.relative_to(root)): text for path, text in texts if text}


def set_performance(home: Home, root: Path = Path("/")) -> Optional[str]:
    """Write the undo record and set the governor of all CPUs. Return why it could not be done, or None."""
    before = read_governors(root)
    if not before:
        return "the kernel offers no governor"
    changes = {name: WANTED for name, governor in before.items() if governor != WANTED}
    if not changes:
        return None
    home.undo.mkdir(parents=True, exist_ok=True)
    record = {"governors": {name: before[name] for name in changes}, "boot_id": read_text(root / _BOOT_ID)}
    replace_file(_record(home), dumps(record))
    failure = _write(changes, root)
    if failure is not None:
        undo(home, root)
    return failure


def undo(home: Home, root: Path = Path("/")) -> Optional[str]:
    """Put back what the record says, and remove it. Return why that failed (the record stays), or None."""
    try:
        record = loads(_record(home).read_bytes())
        governors, boot_id = dict(record["governors"]), record["boot_id"]
    except FileNotFoundError:
        return None
    except (WireError, KeyError, TypeError, ValueError):
        _record(home).unlink(missing_ok=True)
        return "the record of the governor that was set before is damaged"
    if boot_id == read_text(root / _BOOT_ID):  # a reboot has undone it already
        now = read_governors(root)
        # Somebody who has chosen another governor since then is not overruled.
        failure = _write({name: old for name, old in governors.items() if now.get(name) == WANTED}, root)
        if failure is not None:
            return failure
    _record(home).unlink(missing_ok=True)
    return None


def _record(home: Home) -> Path:
    return home.undo / "governor.json"


def _write(governors: Dict[str, str], root: Path) -> Optional[str]:
    for name, governor in governors.items():
        path = root / name
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the path is of sysfs  # nosec B607
                ["sudo", "-n", "tee", str(path)],  # noqa: S607 - where sudo is, PATH knows
                input=governor.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=SUDO_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"sudo cannot be used: {error}"
        if done.returncode != 0:
            return done.stderr.decode("utf-8", "replace").strip() or f"sudo tee {path} failed"
        if read_text(path) != governor:
            return f"{path} did not take {governor}"
    return None
