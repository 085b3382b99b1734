"""Which TFLite runtimes this board has: those that edgepress installed, and the one beside the agent itself."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path
from typing import Optional, Sequence, Tuple

from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import WireError, from_wire, loads
from edgepress_agent.protocol.messages import Runtime

NAMES = ("ai-edge-litert", "tflite-runtime")
MARKER = "installed.json"  # a runtime's folder is complete once it holds this


def find_runtimes(home: Home) -> Tuple[Runtime, ...]:
    """Return all of them: installed ones first."""
    installed = [read_installed(folder) for folder in sorted(home.runtimes.glob("*"))]
    return tuple(runtime for runtime in (*installed, *_beside_the_agent()) if runtime is not None)


def read_installed(folder: Path) -> Optional[Runtime]:
    """Return the runtime in a folder of ``runtimes/``, or None if its installation never came to an end."""
    try:
        runtime = from_wire(Runtime, loads((folder / MARKER).read_bytes()))
    except (OSError, WireError):
        return None
    return runtime if Path(runtime.python).exists() else None


def describe(name: str) -> Optional[Runtime]:
    """Return the runtime of that distribution name in the Python that runs this, without importing it; else None."""
    from importlib import metadata  # a tenth of the agent's start, which hello need not wait for

    try:
        version, numpy_version = metadata.version(name), metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return None
    if name == "tflite-runtime" and _key(numpy_version) >= _key("2"):
        return None  # it imports, and then fails as soon as an Interpreter is made
    return Runtime(name, version, platform.python_version(), numpy_version, sys.executable)


def choose(runtimes: Sequence[Runtime], name: str, version: Optional[str]) -> Runtime:
    """Return the runtime of that name and version; without a version the newest of that name.

    Raises:
        Fault: "no-runtime", with what there is.
    """
    fitting = [runtime for runtime in runtimes if runtime.name == name and version in (None, runtime.version)]
    if not fitting:
        there = ", ".join(f"{runtime.name} {runtime.version}" for runtime in runtimes) or "none"
        raise Fault("no-runtime", f"no runtime {name} {version or ''} on this board; it has {there}".replace("  ", " "))
    return max(fitting, key=lambda runtime: _key(runtime.version))


def _beside_the_agent() -> Tuple[Optional[Runtime], ...]:
    return tuple(describe(name) for name in NAMES)


def _key(version: str) -> Tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0]))
