from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Any

import pytest

import edgepress_agent
from edgepress_agent.home import Home
from support.agent_process import AgentProcess, benchmark, configuration


@pytest.fixture
def uploaded(tmp_path: Path) -> Path:
    """A zipapp of this agent, as a host uploads it."""
    source = tmp_path / "source"
    package = source / "edgepress_agent"
    for path in Path(edgepress_agent.__path__[0]).rglob("*.py"):
        target = package / path.relative_to(edgepress_agent.__path__[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (source / "__main__.py").write_text("import sys\nfrom edgepress_agent.__main__ import main\nsys.exit(main())\n")
    zipapp.create_archive(source, tmp_path / "uploaded.pyz")
    return tmp_path / "uploaded.pyz"


def run(pyz: Path, home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"EDGEPRESS_HOME": str(home.root), "PATH": os.environ["PATH"]}
    argv = [sys.executable, "-I", str(pyz), *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def adopt(pyz: Path, home: Home, sha256: str) -> tuple[int, Any]:
    answer = run(pyz, home, "adopt", "--sha256", sha256)
    assert answer.stdout.count("\n") == 1
    return answer.returncode, json.loads(answer.stdout)


def test_an_uploaded_agent_moves_to_its_place_and_becomes_current(uploaded: Path, home: Home) -> None:
    sha256 = sha256_of(uploaded)
    status, answer = adopt(uploaded, home, sha256)
    assert status == 0
    assert answer["path"] == str(home.agents / f"{sha256}.pyz")
    assert answer["agent_version"] == edgepress_agent.__version__
    assert (home.agents / "current.pyz").readlink() == Path(f"{sha256}.pyz")
    assert sha256_of(home.agents / "current.pyz") == sha256
    assert not uploaded.exists()
    assert adopt(home.agents / "current.pyz", home, sha256)[0] == 0
    assert sorted(path.name for path in home.agents.iterdir()) == sorted([f"{sha256}.pyz", "current.pyz"])


def test_an_agent_that_was_damaged_in_its_place_is_replaced_by_the_same_one_uploaded_again(
    uploaded: Path, home: Home
) -> None:
    content, sha256 = uploaded.read_bytes(), sha256_of(uploaded)
    assert adopt(uploaded, home, sha256)[0] == 0
    (home.agents / f"{sha256}.pyz").write_bytes(content[: len(content) // 2])
    (home.agents / f".{sha256}").write_bytes(b"left by an adoption that was cut off")
    uploaded.write_bytes(content)
    assert adopt(uploaded, home, sha256)[0] == 0
    assert sha256_of(home.agents / "current.pyz") == sha256
    assert len(list(home.agents.iterdir())) == 2


def test_a_newer_agent_becomes_current_and_the_old_one_stays(uploaded: Path, home: Home) -> None:
    old = uploaded.read_bytes()
    adopt(uploaded, home, sha256_of(uploaded))
    uploaded.write_bytes(b"#!/usr/bin/env python3\n" + old)
    newer = sha256_of(uploaded)
    assert adopt(uploaded, home, newer)[0] == 0
    assert (home.agents / "current.pyz").resolve().name == f"{newer}.pyz"
    assert len(list(home.agents.iterdir())) == 3


def test_an_agent_that_is_not_what_was_announced_is_not_adopted(uploaded: Path, home: Home) -> None:
    status, answer = adopt(uploaded, home, "0" * 64)
    assert status == 1
    assert "expected an agent with sha256 000" in answer["error"]
    assert not home.agents.exists()
    assert uploaded.exists()


def test_a_source_tree_cannot_be_adopted(home: Home) -> None:
    argv = [sys.executable, "-m", "edgepress_agent", "adopt", "--sha256", "0" * 64]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "only a zipapp" in json.loads(answer.stdout)["error"]


def test_a_zipapp_serves_and_runs_models_like_a_package(uploaded: Path, home: Home, lock_file: Path) -> None:
    sha256 = sha256_of(uploaded)
    adopt(uploaded, home, sha256)
    argv = [sys.executable, str(home.agents / "current.pyz"), "serve"]
    with AgentProcess(home.root, lock_file, argv) as agent:
        assert agent.call("hello")["agent_sha256"] == sha256
        report = agent.run(benchmark(configuration(agent.push_model("smoke.tflite"))))
        assert report.status == "ended"
        assert [len(run.processes) for run in report.runs] == [2]


def test_an_old_agent_is_collected_only_when_no_process_runs_from_it(
    uploaded: Path, home: Home, lock_file: Path
) -> None:
    content, old = uploaded.read_bytes(), sha256_of(uploaded)
    adopt(uploaded, home, old)
    with AgentProcess(home.root, lock_file, [sys.executable, str(home.agents / "current.pyz"), "serve"]) as at_work:
        assert at_work.call("hello")["agent_sha256"] == old
        uploaded.write_bytes(b"#!/usr/bin/env python3\n" + content)
        adopt(uploaded, home, sha256_of(uploaded))
        argv = [sys.executable, str(home.agents / "current.pyz"), "serve"]
        with AgentProcess(home.root, lock_file, argv) as newer:
            assert newer.call("gc", keep=0, dry_run=False)["agents"] == 0
            assert at_work.call("gc", keep=0, dry_run=False)["agents"] == 0
            assert at_work.close() == 0
            assert newer.call("gc", keep=0, dry_run=False)["agents"] == 1
    assert not (home.agents / f"{old}.pyz").exists()
