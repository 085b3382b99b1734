"""Which state of the user's own project a measurement belongs to."""

from __future__ import annotations

import subprocess
from pathlib import Path

DIRTY = "-dirty"
_PATIENCE_S = 10.0


def project_state(folder: Path | None = None) -> str | None:
    """Return the git commit of the project around a folder (the working directory), as 40 hex digits.

    ``-dirty`` follows when a tracked file differs from it; untracked files, as the table itself may be one, do not
    count. None: no git, no repository, no commit yet.
    """
    command = ["git", "describe", "--always", f"--dirty={DIRTY}", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)  # noqa: S603 - git, words of ours
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
