from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import dumps, to_wire
from edgepress_agent.protocol.messages import InstallSpec, JobReport, JobSpec, Runtime
from edgepress_agent.runtimes import MARKER, describe
from edgepress_agent.smoke import SMOKE_MODEL
from support.agent_process import MODELS, AgentProcess, benchmark, configuration


def install(version: str, *requirements: str) -> JobSpec:
    return JobSpec("install", "tester@here", install=InstallSpec("ai-edge-litert", version, requirements))


def run(home: Home, lock_file: Path, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> JobReport:
    """Run an installation that has no package index to go to."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(home.root))
    with AgentProcess(home.root, lock_file) as agent:
        return agent.run(spec)


def test_the_smoke_model_is_the_one_that_the_script_made() -> None:
    assert (MODELS / "smoke.tflite").read_bytes() == SMOKE_MODEL


def test_an_installation_that_fails_says_what_pip_said_and_is_no_runtime(
    home: Home, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home.runtime("ai-edge-litert", "0.0.1")
    folder.mkdir(parents=True)
    (folder / "of-one-that-was-cut-off").touch()
    report = run(home, lock_file, install("0.0.1"), monkeypatch)
    assert report.status == "failed"
    assert report.failure is not None
    assert report.failure.code == "install-failed"
    assert report.failure.message.startswith("pip failed with status 1: ")
    assert "No matching distribution found for ai-edge-litert==0.0.1" in report.failure.details["log"]
    assert report.installed is None
    assert not folder.exists()


def test_an_installation_that_fills_the_disk_says_so_and_gives_the_room_back(
    home: Home, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip prints then is printed in its place."""
    (home.root / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'pip' in sys.orig_argv and 'install' in sys.orig_argv:\n"
        "    sys.exit('ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(home.root))
    report = run(home, lock_file, install("0.0.1"), monkeypatch)
    assert report.failure is not None
    assert report.failure.code == "disk-full"
    assert "No space left on device" in report.failure.message
    assert not home.runtime("ai-edge-litert", "0.0.1").exists()


def test_a_runtime_that_is_installed_is_not_installed_again(
    home: Home, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Runtime("ai-edge-litert", "2.1.6", "3.11.2", "2.1.0", sys.executable)
    folder = home.runtime("ai-edge-litert", "2.1.6")
    folder.mkdir(parents=True)
    (folder / MARKER).write_bytes(dumps(to_wire(there)))
    report = run(home, lock_file, install("2.1.6"), monkeypatch)
    assert (report.status, report.installed) == ("ended", there)
    assert [path.name for path in folder.iterdir()] == [MARKER]


def test_a_model_runs_in_a_runtime_of_another_venv(home: Home, lock_file: Path, tmp_path: Path) -> None:
    """The agent starts itself in the venv's Python, whose own packages come first."""
    beside = describe("ai-edge-litert")
    assert beside is not None
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    (site,) = venv.glob("lib/python*/site-packages")
    packages = next(path for path in sys.path if (Path(path) / "ai_edge_litert").is_dir())
    (site / "shared.pth").write_text(packages + "\n")
    runtime = Runtime("ai-edge-litert", "99.0", beside.python_version, beside.numpy_version, str(venv / "bin/python"))
    folder = home.runtime("ai-edge-litert", "99.0")
    folder.mkdir(parents=True)
    (folder / MARKER).write_bytes(dumps(to_wire(runtime)))
    with AgentProcess(home.root, lock_file) as agent:
        report = agent.run(benchmark(configuration(agent.push_model("smoke.tflite"))))
    assert report.runs[0].runtime == runtime
    assert report.runs[0].failures == ()
    assert len(report.runs[0].processes) == 2
