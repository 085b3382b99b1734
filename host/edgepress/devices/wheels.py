"""A TFLite runtime, put together on the workstation for a board of another architecture.

The board then needs neither a network nor pip nor the module venv, which Raspberry Pi OS Lite lacks. What comes out is
the folder that the agent's own installation leaves: a virtual environment under
``EDGEPRESS_HOME/runtimes/<name>-<version>-<pyabi>``, which finds the board's Python by a link, and whatever agent is
current by a ``.pth`` file. No program of the board's architecture runs for it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from edgepress.devices.runtimes import userland_architecture
from edgepress.errors import ProvisioningError
from edgepress_agent.protocol.codec import dumps, to_wire
from edgepress_agent.protocol.messages import InstallSpec, Runtime

MARKER = "installed.json"  # the agent counts a folder as a runtime once it holds this
PIP_TIMEOUT_S = 900.0

_OLDEST_GLIBC_MINOR = 17  # that of manylinux2014
_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class BoardPython:
    """The Python of a board and what wheels for it must fit; a :class:`~edgepress.devices.runtimes.Userland`.

    Attributes:
        python: its path on the board.
        python_version: in full, such as "3.11.2".
        libc: such as "glibc 2.36".
        machine, pointer_bits: as :class:`DeviceFacts` have them.
    """

    python: str
    python_version: str
    libc: str | None
    machine: str
    pointer_bits: int

    @property
    def short_version(self) -> str:
        """Such as "3.11"."""
        return ".".join(self.python_version.split(".")[:2])

    @property
    def abi(self) -> str:
        """Such as "cp311"."""
        return "cp" + self.short_version.replace(".", "")


def runtime_folder(spec: InstallSpec, board: BoardPython) -> str:
    """Return the name that the agent gives to a runtime's folder."""
    return f"{spec.name}-{spec.version}-{board.abi}"


def assemble_runtime(spec: InstallSpec, board: BoardPython, folder: Path, home: PurePosixPath) -> Runtime:
    """Put a runtime together, from the package index that pip on this machine uses.

    Args:
        spec: what to install.
        board: what it is for.
        folder: to be made on this machine; its place on the board is ``home / "runtimes" / runtime_folder(...)``.
        home: EDGEPRESS_HOME on the board, absolute.

    Returns:
        what the board will say of it; the folder has it too, as the mark of a complete installation.

    Raises:
        ProvisioningError: pip found no wheels for the board, or there is no pip here.
    """
    place = home / "runtimes" / runtime_folder(spec, board)
    site = folder / "lib" / f"python{board.short_version}" / "site-packages"
    site.mkdir(parents=True)
    _fetch_wheels(spec, board, site)
    (site / "edgepress_agent.pth").write_text(f"{home}/agents/current.pyz\n")
    binaries = folder / "bin"
    binaries.mkdir()
    for name in ("python3", "python"):
        (binaries / name).symlink_to(board.python if name == "python3" else "python3")
    (folder / "pyvenv.cfg").write_text(
        f"home = {PurePosixPath(board.python).parent}\ninclude-system-site-packages = false\n"
        f"version = {board.python_version}\n"
    )
    if python := python_of_minor(board.short_version):
        precompile(python, site, str(place / site.relative_to(folder)))
    versions = {one.metadata["Name"].lower(): one.version for one in metadata.distributions(path=[str(site)])}
    runtime = Runtime(spec.name, spec.version, board.python_version, versions["numpy"], str(place / "bin" / "python"))
    (folder / MARKER).write_bytes(dumps(to_wire(runtime)))
    return runtime


def python_of_minor(version: str) -> str | None:
    """Return a Python of this machine whose byte code a board with Python ``version`` ("3.11") takes, or None."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        return None
    tried = subprocess.run([found, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - a Python of PATH, asked for its version
    return found if tried.returncode == 0 else None  # the stand-ins of version managers may lead nowhere


def precompile(python: str, folder: Path, shown_as: str) -> None:
    """Compile all modules in a folder; tracebacks will name them ``shown_as``. What is no valid Python is left out.

    It matters under emulation, where ``import numpy`` without byte code takes 16 s instead of 3.
    """
    argv = [python, "-m", "compileall", "-q", "-q", "-j", "0", "-s", str(folder), "-p", shown_as, str(folder)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_TIMEOUT_S, check=False)  # noqa: S603 - a Python of PATH, which compiles


def _fetch_wheels(spec: InstallSpec, board: BoardPython, site: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ProvisioningError(f"{spec.name} is fetched with pip, which {sys.executable} lacks: python -m ensurepip")
    platforms = [word for tag in _platform_tags(board) for word in ("--platform", tag)]
    done = subprocess.run(  # noqa: S603 - pip, with exact requirements, no shell
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"),
            *("--no-compile", "--only-binary=:all:", "--implementation", "cp", "--python-version", board.short_version),
            *("--abi", board.abi, "--abi", "abi3", "--abi", "none", *platforms, "--target", str(site)),
            *("--root-user-action=ignore", *spec.requirements),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PIP_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ProvisioningError(
            f"the wheels of {spec.name} {spec.version} for {userland_architecture(board)}, Python "
            f"{board.short_version} could not be fetched: {done.stderr.strip()[-_ERROR_CHARACTERS:]}"
        )


def _platform_tags(board: BoardPython) -> list[str]:
    """Every tag of wheels that run there: pip does not know that a newer C library runs what an older one does."""
    architecture = userland_architecture(board)
    newest = int(re.findall(r"[0-9]+", board.libc or f"2.{_OLDEST_GLIBC_MINOR}")[1])
    tags = [f"manylinux_2_{minor}_{architecture}" for minor in range(newest, _OLDEST_GLIBC_MINOR - 1, -1)]
    return [*tags, f"manylinux2014_{architecture}", f"linux_{architecture}"]
