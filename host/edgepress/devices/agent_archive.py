"""The agent as one file, built from the package that this host has, so that host and board never differ.

Beside its sources it has their byte code for this machine's Python. A board with the same one need not compile the
agent each time that it starts, which a zipapp does otherwise (under emulation: 0.7 instead of 3.5 s); any other Python
passes byte code over that is not its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_MAIN = b"from edgepress_agent.__main__ import main\n\nraise SystemExit(main())\n"
_UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: valid whatever the time of its source
_MARSHAL_VERSION = 2  # later ones note who else refers to an object, so that the same code has different bytes
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # zip's earliest: the bytes depend on nothing but the sources


@dataclass(frozen=True)
class AgentArchive:
    """A Python zip application: ``python3 FILE serve``."""

    data: bytes
    sha256: str


@cache
def agent_archive() -> AgentArchive:
    """Build the archive; the same sources give the same bytes under the same Python."""
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
            source = entry.read_bytes()
            found[f"{name}/{entry.name}"] = source
            found[f"{name}/{entry.name}c"] = _byte_code(source, f"{name}/{entry.name}")
    return found


def _byte_code(source: bytes, name: str) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source)
    return header + marshal.dumps(code, _MARSHAL_VERSION)
