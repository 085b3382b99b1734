"""The content store: blobs by their sha256, uploaded in pieces, complete only after the board has hashed them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from edgepress_agent.durable import only_one, sha256_of, sync_directory, sync_file
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.messages import BlobState

RESERVE_BYTES = 4 << 20  # left free by uploads, so that reports and links still fit
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TFLITE_IDENTIFIER = b"TFL3"  # bytes 4 to 7 of every .tflite


class ContentStore:
    """Blobs under one home: ``incoming/<sha256>.part`` until committed, then ``models/`` or ``inputs/``."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def state(self, sha256: str) -> BlobState:
        """Say what is there of a blob. One that is complete counts as wanted from now on: see :mod:`.garbage`."""
        complete = self._complete(sha256)
        if complete is not None:
            with contextlib.suppress(OSError):  # a disk that is read-only
                os.utime(complete)
            return BlobState(sha256, present=True, received_bytes=complete.stat().st_size)
        part = self._part(sha256)
        return BlobState(sha256, present=False, received_bytes=part.stat().st_size if part.exists() else 0)

    def path(self, sha256: str) -> Path:
        """Return where a complete blob is.

        Raises:
            Fault: "not-found".
        """
        complete = self._complete(sha256)
        if complete is None:
            raise Fault("not-found", f"no content {sha256} on this board; upload it first", sha256=sha256)
        return complete

    def verified(self, sha256: str) -> Path:
        """Return where a complete blob is, after hashing it again: cards forget, and power cuts come between.

        Raises:
            Fault: "not-found"; "hash-mismatch" (it is thrown away, so that the next upload brings it anew).
        """
        path = self.path(sha256)
        found = sha256_of(path)
        if found != sha256:
            path.unlink(missing_ok=True)
            raise Fault("hash-mismatch", f"content {sha256} was damaged on this board; upload it again", found=found)
        return path

    def upload(self, sha256: str, offset: int, total_bytes: int, chunk: bytes) -> BlobState:
        """Add a piece. A piece that is there already may be sent again; a gap is refused.

        What was written stays when the disk is full, so that the upload can be resumed.

        Raises:
            Fault: "bad-request" for a gap (details have ``received_bytes``) or a piece past the end; "disk-full".
            OSError: the file system refused the write.
        """
        state = self.state(sha256)
        if state.present:
            return state
        if offset < 0 or offset + len(chunk) > total_bytes:
            raise Fault("bad-request", f"bytes {offset} to {offset + len(chunk)} do not lie in 0 to {total_bytes}")
        if offset > state.received_bytes:
            raise Fault(
                "bad-request",
                f"piece at {offset}, but only {state.received_bytes} bytes of {sha256} are here",
                received_bytes=state.received_bytes,
            )
        self._home.incoming.mkdir(parents=True, exist_ok=True)
        self._check_space(total_bytes - state.received_bytes)
        descriptor = os.open(self._part(sha256), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(chunk)
            while view:
                written = os.pwrite(descriptor, view, offset)
                offset, view = offset + written, view[written:]
        finally:
            os.close(descriptor)
        return self.state(sha256)

    def commit(self, sha256: str, total_bytes: int) -> BlobState:
        """Check the hash of an uploaded blob and take it into the store, durably.

        Raises:
            Fault: "not-found" without an upload; "bad-request" when bytes are missing; "hash-mismatch" (the part is
                thrown away: which of its bytes are wrong cannot be known).
        """
        state = self.state(sha256)
        if state.present:
            return state
        part = self._part(sha256)
        if not part.exists():
            raise Fault("not-found", f"nothing of {sha256} was uploaded", sha256=sha256)
        with only_one(self._home.incoming):
            return self._take(sha256, total_bytes, part)

    def _take(self, sha256: str, total_bytes: int, part: Path) -> BlobState:
        state = self.state(sha256)
        if state.present:  # another host sent the same and was quicker
            return state
        if state.received_bytes != total_bytes:
            raise Fault(
                "bad-request",
                f"{sha256}: {state.received_bytes} of {total_bytes} bytes are here; upload the rest first",
                received_bytes=state.received_bytes,
            )
        found = sha256_of(part)
        if found != sha256:
            part.unlink()
            raise Fault("hash-mismatch", f"expected content {sha256}, got {found}; upload it again", found=found)
        try:
            sync_file(part)
        except OSError:
            part.unlink(missing_ok=True)  # the kernel may have dropped what it could not write, and says so only once
            raise
        with part.open("rb") as stream:
            is_model = stream.read(8)[4:] == _TFLITE_IDENTIFIER
        final = self._model(sha256) if is_model else self._input(sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        part.replace(final)
        sync_directory(final.parent)
        sync_directory(part.parent)
        return BlobState(sha256, present=True, received_bytes=total_bytes)

    def _check_space(self, needed_bytes: int) -> None:
        status = os.statvfs(self._home.incoming)
        free = status.f_bavail * status.f_frsize
        if free < needed_bytes + RESERVE_BYTES:
            raise Fault(
                "disk-full",
                f"{needed_bytes} bytes are to come and {RESERVE_BYTES} stay in reserve, but only {free} are free "
                f"in {self._home.root}",
                needed_bytes=needed_bytes,
                free_bytes=free,
            )

    def _complete(self, sha256: str) -> Path | None:
        _check(sha256)
        return next((path for path in (self._model(sha256), self._input(sha256)) if path.is_file()), None)

    def _model(self, sha256: str) -> Path:
        return self._home.models / f"{sha256}.tflite"

    def _input(self, sha256: str) -> Path:
        return self._home.inputs / f"{sha256}.npys"

    def _part(self, sha256: str) -> Path:
        _check(sha256)
        return self._home.incoming / f"{sha256}.part"


def _check(sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise Fault("bad-request", f"a sha256 is 64 hexadecimal digits, lower case; got {sha256[:80]!r}")
