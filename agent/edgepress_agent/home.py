"""Where things are on the board: the layout of ``EDGEPRESS_HOME``.

::

    agents/<sha256>.pyz, agents/current.pyz     the agent itself, by content
    runtimes/<name>-<version>-<pyabi>/          one venv for each TFLite runtime
    models/<sha256>.tflite                      models, by content
    inputs/<sha256>.npys                        input arrays, by content
    incoming/<sha256>.part                      uploads that are not complete
    apps/<app>/{current,trial,releases/}        what applications use, and where to go back to during a switch
    undo/                                       what a job changed on the board and has to put back
    jobs/<id>/                                  one folder per job, until it is acknowledged
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping


@dataclass(frozen=True)
class Home:
    """The layout under one root. A value: it creates and reads nothing."""

    root: Path
    system: Path = Path("/")  # where /proc, /sys and /etc are: elsewhere in tests

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Home:
        """Return the home that ``EDGEPRESS_HOME`` names, absolute; ``~/.edgepress`` without it.

        ``EDGEPRESS_SYSTEM_ROOT`` names a folder in which a board's ``/proc`` and ``/sys`` are made up.
        """
        root = Path(environment.get("EDGEPRESS_HOME") or "~/.edgepress").expanduser().absolute()
        return cls(root, Path(environment.get("EDGEPRESS_SYSTEM_ROOT") or "/"))

    @property
    def agents(self) -> Path:
        return self.root / "agents"

    @property
    def runtimes(self) -> Path:
        return self.root / "runtimes"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def apps(self) -> Path:
        return self.root / "apps"

    @property
    def undo(self) -> Path:
        return self.root / "undo"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    def runtime(self, name: str, version: str) -> Path:
        """Return the folder of a runtime for the Python that runs this: ``<name>-<version>-cp311``."""
        return self.runtimes / f"{name}-{version}-cp{sys.version_info[0]}{sys.version_info[1]}"
