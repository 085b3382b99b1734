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


def test_the_same_sources_give_the_same_bytes_in_any_process() -> None:
    first = agent_archive()
    agent_archive.cache_clear()
    second = agent_archive()
    assert first is not second
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()
    program = "from edgepress.devices.agent_archive import agent_archive; print(agent_archive().sha256)"
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == first.sha256


def test_it_holds_the_installed_packages_sources_and_their_byte_code_and_nothing_else() -> None:
    package = Path(edgepress_agent.__path__[0])
    sources = {f"edgepress_agent/{file.relative_to(package)}": file.read_bytes() for file in package.rglob("*.py")}
    archive = zipfile.ZipFile(io.BytesIO(agent_archive().data))
    assert set(archive.namelist()) == {"__main__.py", *sources, *(f"{name}c" for name in sources)}
    assert all(archive.read(name) == data for name, data in sources.items())
    assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_it_runs_without_any_package_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.pyz"
    file.write_bytes(agent_archive().data)
    argv = [sys.executable, "-I", "-S", str(file), "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == edgepress_agent.__version__


def test_a_board_with_this_python_needs_its_byte_code_alone(tmp_path: Path) -> None:
    whole, file = zipfile.ZipFile(io.BytesIO(agent_archive().data)), tmp_path / "agent.pyz"
    with zipfile.ZipFile(file, "w") as archive:
        for name in whole.namelist():
            if name.endswith(".pyc") or name == "__main__.py":
                archive.writestr(name, whole.read(name))
    done = subprocess.run([sys.executable, "-I", "-S", file, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == edgepress_agent.__version__
