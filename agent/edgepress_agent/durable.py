"""Files that are either the old or the new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Iterator


def replace_file(path: Path, data: bytes, durable: bool = True) -> None:
    """Give ``path`` new content in one step.

    ``durable`` makes it outlast a power cut (fsync of the file, then of its folder). Without it readers still see the
    old or the new content, never a mixture.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # half a file must not keep a full disk full
        raise
    if durable:
        sync_directory(path.parent)


def switch_link(link: Path, target: str) -> None:
    """Let a symbolic link point to ``target`` (relative to the link's folder), atomically and durably.

    One caller at a time: see :func:`only_one`. A cut leaves :func:`unfinished_link` at most.
    """
    temporary = unfinished_link(link)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    sync_directory(link.parent)


def unfinished_link(link: Path) -> Path:
    """Return where :func:`switch_link` makes the new link before it takes the old one's place."""
    return link.with_name(f".{link.name}.new")


@contextlib.contextmanager
def only_one(folder: Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block, for a folder that exists.

    Raises:
        FileNotFoundError: it does not exist, or another process removed or replaced it while this one waited.
        BlockingIOError: without ``wait``, when another process is in its block.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise FileNotFoundError(errno.ENOENT, "it was replaced meanwhile", str(folder))
        yield
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody ever finds half of it: under its name it is there as a whole, or gone.

    What a cut leaves is called ``.gone-*`` and is for :func:`remove_debris`.
    """
    gone = folder.with_name(f".gone-{folder.name}-{secrets.token_hex(4)}")
    folder.rename(gone)
    try:
        sync_directory(folder.parent)
    except OSError:
        gone.rename(folder)
        raise
    shutil.rmtree(gone, ignore_errors=True)


def remove_debris(folder: Path) -> None:
    """Remove what calls that were cut off have left in a folder: everything whose name begins with ``.gone-``."""
    for debris in folder.glob(".gone-*"):
        shutil.rmtree(debris, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
