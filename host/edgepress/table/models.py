"""The .tflite files that rows were measured of, kept by hash beside the database."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgepress.errors import TableError

_NAME = re.compile(r"[0-9a-f]{64}\.tflite")
# A file comes before its row: what is younger than this may belong to a row that is just being written.
GRACE_S = 3600.0


@dataclass(frozen=True)
class Collected:
    """What :meth:`ModelShelf.collect` removed, or would remove."""

    files: tuple[str, ...]
    freed_bytes: int
    kept: int


class ModelShelf:
    """Files by their sha256. The folder is made with the first file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where a file is, or would be."""
        return self.folder / f"{sha256}.tflite"

    def keep(self, source: Path, sha256: str) -> Path:
        """Copy a file onto the shelf unless it is there; whole or not at all.

        Raises:
            TableError: it cannot be read or written, or does not have this hash.
        """
        try:
            return self.path(sha256) if self.path(sha256).exists() else self.put(source.read_bytes(), sha256)
        except OSError as error:
            raise TableError(f"the file of a row cannot be kept in {self.folder}: {error}") from error

    def put(self, content: bytes, sha256: str) -> Path:
        """Write a file.

        Raises:
            TableError: the content does not have this hash. OSError: no room, no permission.
        """
        if hashlib.sha256(content).hexdigest() != sha256:
            raise TableError(f"a model file does not have the hash {sha256[:12]} that its row names")
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path(sha256))
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        return self.path(sha256)

    def collect(
        self, newest_use: Mapping[str, int], *, unused_for_s: float | None = None, dry_run: bool = False
    ) -> Collected:
        """Delete files that no row names, and what killed writers left behind. Rows stay.

        Args:
            newest_use: sha256 of the files that rows name, and when the newest row of each ended (Unix ns).
            unused_for_s: delete as well what no row of the last so many seconds names.
        """
        now_s = time.time()
        removed: list[str] = []
        freed = kept = 0
        for file in self._files():
            with suppress(FileNotFoundError):  # another gc was quicker
                status = file.stat()
                used_ns = newest_use.get(file.stem) if _NAME.fullmatch(file.name) else None
                is_old = unused_for_s is not None and used_ns is not None and used_ns / 1e9 < now_s - unused_for_s
                if now_s - status.st_mtime < GRACE_S or (used_ns is not None and not is_old):
                    kept += 1
                    continue
                if not dry_run:
                    file.unlink()
                removed.append(file.name)
                freed += status.st_size
        return Collected(tuple(removed), freed, kept)

    def _files(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from sorted(file for file in self.folder.iterdir() if file.is_file())
