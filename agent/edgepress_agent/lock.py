"""The board's lock: one per physical board, whichever user and whichever ``EDGEPRESS_HOME``.

An exclusive ``flock`` on one file. The kernel releases it when its holder ends, however it ends. Who holds it is
written in the file, which everybody may read.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Iterable, Mapping, Optional

from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import LockState

_FOLDERS = ("/run/lock", "/var/lock", "/tmp")  # noqa: S108 - shared by all users on purpose  # nosec B108
_FILE_NAME = "edgepress.lock"


def lock_path(environment: Mapping[str, str], folders: Iterable[str] = _FOLDERS) -> Path:
    """Return the lock's file: ``EDGEPRESS_LOCK``, or one in the first folder that everybody can write.

    The folder is chosen by its mode, not by what this user may do, so that all users of a board choose the same.
    """
    if environment.get("EDGEPRESS_LOCK"):
        return Path(environment["EDGEPRESS_LOCK"])
    for folder in folders:
        try:
            mode = Path(folder).stat().st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode) and mode & 0o1777 == 0o1777:
            return Path(folder, _FILE_NAME)
    raise FileNotFoundError(f"no folder for the board's lock: none of {', '.join(folders)} is writable for everybody")


class BoardLock:
    """The lock, taken by a job process for as long as it lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: Optional[int] = None

    def try_take(self, job_id: str, requested_by: str) -> bool:
        """Take the lock if it is free, and say in it who holds it."""
        if self._descriptor is None:
            self._descriptor = _open(self._path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        holder = LockState(True, job_id, requested_by, time.time_ns())
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, dumps(to_wire(holder)), 0)
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_lock(path: Path) -> LockState:
    """Say whether the board is in use, by whom and since when."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return LockState(held=False)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(os.pread(descriptor, 4096, 0))
        return LockState(held=False)
    finally:
        os.close(descriptor)


def _holder(text: bytes) -> LockState:
    try:
        return replace(from_wire(LockState, loads(text)), held=True)
    except WireError:  # caught between taking the lock and writing the name
        return LockState(held=True)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        # fs.protected_regular refuses O_CREAT on another user's file in a sticky folder, even if it may be written.
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        os.fchmod(descriptor, 0o666)  # for all users of the board, whatever the umask is  # nosec B103
        return descriptor
