"""The agent as one file."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import edgepress_agent
from edgepress.devices.agent_archive import agent_archive


def test_the_same_sources_give_the_same_bytes() -> None:
    first = agent_archive()
    agent_archive.cache_clear()
    second = agent_archive()
    assert first is not second
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()


def test_it_holds_the_installed_packages_sources_and_nothing_else() -> None:
    package = Path(edgepress_agent.__path__[0])
    sources = {f"edgepress_agent/{file.relative_to(package)}": file.read_bytes() for file in package.rglob("*.py")}
    archive = zipfile.ZipFile(io.BytesIO(agent_archive().data))
    assert set(archive.namelist()) == {"__main__.py", *sources}
    assert all(archive.read(name) == data for name, data in sources.items())
    assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_it_runs_without_any_package_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.pyz"
    file.write_bytes(agent_archive().data)
    argv = [sys.executable, "-I", "-S", str(file), "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == edgepress_agent.__version__
