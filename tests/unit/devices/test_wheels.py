"""A runtime put together for another architecture, with pip replaced: what is left is what the agent expects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from edgepress.devices import wheels
from edgepress.devices.wheels import BoardPython, assemble_runtime, python_of_minor, runtime_folder
from edgepress.errors import ProvisioningError
from edgepress_agent.home import Home
from edgepress_agent.protocol.messages import InstallSpec

SPEC = InstallSpec("tflite-runtime", "2.14.0", ("tflite-runtime==2.14.0", "numpy<2", "psutil"))
BOARD = BoardPython("/usr/bin/python3.11", "3.11.2", "glibc 2.36", "aarch64", 64)
HOME = PurePosixPath("/home/pi/.edgepress")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """A pip that installs two distributions; returns the commands it was given."""
    commands: list[Sequence[str]] = []
    real = subprocess.run

    def run(argv: Sequence[str], **more: Any) -> subprocess.CompletedProcess[Any]:
        if "pip" not in argv:
            return real(argv, **more)
        commands.append(argv)
        site = Path(argv[argv.index("--target") + 1])
        for name, version in (("tflite_runtime", "2.14.0"), ("numpy", "1.26.4")):
            info = site / f"{name}-{version}.dist-info"
            info.mkdir()
            title = name.replace("_", "-")
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: {version}\n")
            (site / f"{name}.py").write_text("value = 1\n")
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    return commands


def test_the_folder_is_a_virtual_environment_of_the_boards_python(pip: list[Sequence[str]], tmp_path: Path) -> None:
    folder = tmp_path / runtime_folder(SPEC, BOARD)
    runtime = assemble_runtime(SPEC, BOARD, folder, HOME)
    assert folder.name == "tflite-runtime-2.14.0-cp311"
    assert runtime.python == "/home/pi/.edgepress/runtimes/tflite-runtime-2.14.0-cp311/bin/python"
    assert (runtime.version, runtime.numpy_version, runtime.python_version) == ("2.14.0", "1.26.4", "3.11.2")
    assert (folder / "bin/python3").readlink() == Path("/usr/bin/python3.11")
    assert "home = /usr/bin\n" in (folder / "pyvenv.cfg").read_text()
    site = folder / "lib/python3.11/site-packages"
    assert (site / "edgepress_agent.pth").read_text() == "/home/pi/.edgepress/agents/current.pyz\n"


def test_the_name_is_the_one_that_the_agent_gives(tmp_path: Path) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    board = BoardPython(sys.executable, f"{here}.0", "glibc 2.36", "aarch64", 64)
    assert runtime_folder(SPEC, board) == Home(tmp_path).runtime(SPEC.name, SPEC.version).name


def test_pip_is_asked_for_every_tag_that_runs_there_and_nothing_to_compile(
    pip: list[Sequence[str]], tmp_path: Path
) -> None:
    assemble_runtime(SPEC, BOARD, tmp_path / "runtime", HOME)
    (argv,) = pip
    for word in ("--only-binary=:all:", "manylinux_2_36_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"):
        assert word in argv
    assert "manylinux_2_37_aarch64" not in argv
    assert "numpy<2" in argv


def test_a_32_bit_userland_gets_32_bit_wheels(pip: list[Sequence[str]], tmp_path: Path) -> None:
    board = BoardPython("/usr/bin/python3", "3.11.2", "glibc 2.36", "aarch64", 32)
    assemble_runtime(SPEC, board, tmp_path / "runtime", HOME)
    assert "manylinux_2_34_armv7l" in pip[0]


def test_what_pip_cannot_find_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(argv: Sequence[str], **more: Any) -> subprocess.CompletedProcess[Any]:
        return subprocess.CompletedProcess(argv, 1, "", "ERROR: No matching distribution found")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    with pytest.raises(ProvisioningError, match=r"tflite-runtime 2\.14\.0 for aarch64.*No matching distribution"):
        assemble_runtime(SPEC, BOARD, tmp_path / "runtime", HOME)


def test_byte_code_is_made_by_a_python_of_the_boards_version_or_not_at_all() -> None:
    assert python_of_minor(f"{sys.version_info[0]}.{sys.version_info[1]}") == sys.executable
    assert python_of_minor("2.99") is None
