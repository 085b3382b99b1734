"""The agent as one file, built from the package that this host has, so that host and board never differ."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_MAIN = b"from edgepress_agent.__main__ import main\n\nraise SystemExit(main())\n"
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # zip's earliest: the bytes depend on nothing but the sources


@dataclass(frozen=True)
class AgentArchive:
    """A Python zip application: ``python3 FILE serve``."""

    data: bytes
    sha256: str


@cache
def agent_archive() -> AgentArchive:
    """Build the archive; the same sources give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(
            {"__main__.py": _MAIN, **_sources(files("edgepress_agent"), "edgepress_agent")}.items()
        ):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    data = stream.getvalue()
    return AgentArchive(data, hashlib.sha256(data).hexdigest())


def _sources(directory: Traversable, name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in directory.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found |= _sources(entry, f"{name}/{entry.name}")
        elif entry.name.endswith(".py"):
            found[f"{name}/{entry.name}"] = entry.read_bytes()
    return found
