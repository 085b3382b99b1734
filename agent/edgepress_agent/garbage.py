"""What nothing on the board needs any more, and how it goes.

Goes: releases beyond those that are kept; models and inputs that no release has and no running job uses; uploads that
were given up; agents that no process runs from. Jobs go by themselves (:mod:`edgepress_agent.jobs`), runtimes never.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import DefaultDict, List, Set, Tuple

from edgepress_agent import launch
from edgepress_agent.age import age_s
from edgepress_agent.durable import remove_debris, remove_folder
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.job_folder import JobFolder
from edgepress_agent.protocol.messages import Collected
from edgepress_agent.releases import ReleaseStore

MOST_KEPT = 1000
# A host that has asked for a blob and heard that it is there will activate it, or start a job with it, in a moment.
RECENT_S = 600.0
UPLOAD_KEPT_S = 86_400.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def collect(home: Home, keep: int, dry_run: bool) -> Collected:
    """Remove what nothing needs, or only say what that is.

    Args:
        keep: releases of each application beside the current one and the one it replaced; the newest stay.
        dry_run: change nothing.

    Raises:
        Fault: "bad-request".
    """
    if not 0 <= keep <= MOST_KEPT:
        raise Fault("bad-request", f"keep is 0 to {MOST_KEPT}, got {keep}")
    bin_, store = _Bin(dry_run), ReleaseStore(home)
    releases = [f"{app}/{release}" for app in store.apps() for release in store.trim(app, keep, bin_.take)]
    used = _used_by_releases(store, releases) | _used_by_jobs(home)
    blobs = [blob for blob in (*home.models.glob("*"), *home.inputs.glob("*")) if blob.stem not in used]
    recent = [blob for blob in blobs if age_s(blob, home.system) < RECENT_S]
    unused = [blob for blob in blobs if blob not in recent]
    uploads = [part for part in home.incoming.glob("*") if age_s(part, home.system) > UPLOAD_KEPT_S]
    agents = _unused_agents(home)
    for file in (*unused, *uploads, *agents):
        bin_.take(file)
    if not dry_run:
        remove_debris(home.apps)
    return Collected(
        releases=tuple(releases),
        blobs=len(unused),
        uploads=len(uploads),
        agents=len(agents),
        freed_bytes=bin_.freed_bytes,
        recent_bytes=sum(blob.stat().st_size for blob in recent),
    )


class _Bin:
    """Takes files and folders away, or only counts what that would free."""

    def __init__(self, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._taken: DefaultDict[Tuple[int, int], int] = defaultdict(int)  # links of an inode that would be gone
        self.freed_bytes = 0

    def take(self, path: Path) -> None:
        for file in [found for found in path.rglob("*") if not found.is_dir()] or [path]:
            self._count(file)
        if self._dry_run:
            return
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)

    def _count(self, file: Path) -> None:
        status = file.lstat()
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink - self._taken[inode] == 1:  # a release and the store share one file
            self.freed_bytes += status.st_size
        self._taken[inode] += self._dry_run


def _used_by_releases(store: ReleaseStore, trimmed: List[str]) -> Set[str]:
    return {
        release.model_sha256
        for state in store.states()
        for release in state.releases
        if f"{state.app}/{release.release}" not in trimmed
    }


def _used_by_jobs(home: Home) -> Set[str]:
    """Return every hash that jobs name which have not ended, whatever version of the agent they are of."""
    used: Set[str] = set()
    for path in home.jobs.glob("*"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            try:
                os.close(JobFolder(path).lock_alive())
            except BlockingIOError:
                used.update(_SHA256.findall((path / "spec.json").read_text()))
    return used


def _unused_agents(home: Home) -> List[Path]:
    """Return the archives that neither are current nor have a process running from them."""
    current = (home.agents / "current.pyz").resolve()
    archives = [path for path in home.agents.glob("*.pyz") if not path.is_symlink() and path != current]
    return [path for path in archives if not launch.is_in_use(path)]
