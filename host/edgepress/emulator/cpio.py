"""Archives as the Linux kernel takes them for an initial file system: cpio, "new ASCII" format."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file or a folder of root's. ``mode`` has the type bits of stat.h; a folder has no data."""

    name: str
    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644


def folder(name: str) -> Entry:
    """Return the entry of a folder."""
    return Entry(name, mode=stat.S_IFDIR | 0o755)


def write_cpio(entries: Iterable[Entry]) -> bytes:
    """Write an archive. Archives may be put one after another: the kernel unpacks them in turn."""
    pieces = [_record(number, entry) for number, entry in enumerate(entries, 1)]
    pieces.append(_record(0, Entry("TRAILER!!!", mode=0)))
    archive = b"".join(pieces)
    return archive + bytes(-len(archive) % 512)


def _record(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + "".join(f"{field:08X}" for field in fields).encode()
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
