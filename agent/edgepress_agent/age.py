"""How old a file is, on a board whose clock may jump."""

from __future__ import annotations

import time
from pathlib import Path

from edgepress_agent.board_state import read_text


def age_s(path: Path, system: Path) -> float:
    """Return how long ago a file was last written: by the clock, but no longer than the board has been on.

    A board without a battery wakes up in the past, and its clock jumps forward, by months perhaps, once it has a
    network. What was written before the jump is not old for that. The price: what is to be deleted by its age stays
    until the board has been on for so long without a break.

    Args:
        system: where ``/proc`` is.
    """
    uptime = read_text(system / "proc/uptime")
    on_s = float(uptime.split()[0]) if uptime else float("inf")
    return min(time.time() - path.stat().st_mtime, on_s)
