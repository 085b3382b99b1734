"""`edgepress` as a user types it, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Shell:
    """Runs the command line with table, cache, inventory and EDGEPRESS_HOME in one folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "EDGEPRESS_DB": str(folder / "table.db"),
            "EDGEPRESS_CACHE": str(folder / "cache"),
            "EDGEPRESS_HOME": str(folder / "home"),
            "EDGEPRESS_DEVICES": str(folder / "devices.toml"),
            **environment,
        }

    def start(self, *arguments: str, without: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a command; the caller waits for it. ``without``: packages that it must not find installed."""
        hidden = "".join(f"sys.modules[{package!r}] = None; " for package in without)
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; {hidden}from edgepress.cli.main import main; main()", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, without: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must have this exit code."""
        process = self.start(*arguments, without=without)
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == code, stdout + stderr
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    def json(self, *arguments: str, code: int = 0, without: Sequence[str] = ()) -> Any:
        """Run a command with --json and return what it printed."""
        return json.loads(self.run(*arguments, "--json", code=code, without=without).stdout)
