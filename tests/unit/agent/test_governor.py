"""The governor is set only for a measurement, and put back whatever happens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgepress_agent import governor
from edgepress_agent.home import Home
from support.agent_process import AgentProcess, benchmark, configuration
from support.made_up_board import make_board

GOVERNOR = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_board(tmp_path / "board")


def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str = 'shift; exec "$@"') -> None:
    """Put a ``sudo`` first on PATH that does as told."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "sudo").write_text(f'#!/bin/sh\n[ "$1" = -n ] || exit 3\n{script}\n')
    (folder / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def governors(root: Path) -> list[str]:
    return [(root / GOVERNOR.format(cpu)).read_text().strip() for cpu in (0, 1)]


def test_it_is_set_for_all_cpus_and_put_back(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo(tmp_path, monkeypatch)
    assert governor.set_performance(home, root) is None
    assert governors(root) == ["performance", "performance"]
    assert governor.undo(home, root) is None
    assert governors(root) == ["ondemand", "ondemand"]
    assert not list(home.undo.iterdir())


def test_the_next_agent_undoes_what_a_killed_job_has_left(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo(tmp_path, monkeypatch)
    governor.set_performance(home, root)
    monkeypatch.setenv("EDGEPRESS_SYSTEM_ROOT", str(root))
    with AgentProcess(home.root, tmp_path / "lock") as agent:
        agent.call("hello")
    assert governors(root) == ["ondemand", "ondemand"]


def test_a_measurement_says_by_which_governor_it_was_taken_and_puts_the_old_one_back(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo(tmp_path, monkeypatch)
    monkeypatch.setenv("EDGEPRESS_SYSTEM_ROOT", str(root))
    with AgentProcess(home.root, tmp_path / "lock") as agent:
        model = agent.push_model("dense_float32.tflite")
        report = agent.run(benchmark(configuration(model), set_governor=True))
    assert report.failure is None
    assert report.facts is not None
    assert report.facts.governor == "performance"
    assert governors(root) == ["ondemand", "ondemand"]


def test_the_governors_of_all_cpus_that_a_job_ran_on_are_said(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / GOVERNOR.format(1)).write_text("performance\n")
    monkeypatch.setenv("EDGEPRESS_SYSTEM_ROOT", str(root))
    with AgentProcess(home.root, tmp_path / "lock") as agent:
        model = agent.push_model("dense_float32.tflite")
        report = agent.run(benchmark(configuration(model)))
    assert report.facts is not None
    assert report.facts.governor == "ondemand+performance"


def test_a_job_that_is_cancelled_while_it_sets_the_governor_puts_the_old_one_back(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = 'shift; wanted=$(cat); echo "$wanted" | "$@"; [ "$wanted" != performance ] || kill -TERM $PPID'
    sudo(tmp_path, monkeypatch, cancelled)
    monkeypatch.setenv("EDGEPRESS_SYSTEM_ROOT", str(root))
    with AgentProcess(home.root, tmp_path / "lock") as agent:
        report = agent.run(benchmark(configuration(agent.push_model("dense_float32.tflite")), set_governor=True))
    assert (report.status, report.runs) == ("cancelled", ())
    assert governors(root) == ["ondemand", "ondemand"]


def test_what_somebody_has_chosen_since_is_left_alone(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo(tmp_path, monkeypatch)
    governor.set_performance(home, root)
    (root / GOVERNOR.format(1)).write_text("powersave\n")
    assert governor.undo(home, root) is None
    assert governors(root) == ["ondemand", "powersave"]


def test_a_reboot_has_undone_it(root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo(tmp_path, monkeypatch)
    governor.set_performance(home, root)
    (root / "proc/sys/kernel/random/boot_id").write_text("another\n")
    sudo(tmp_path, monkeypatch, "exit 1")
    assert governor.undo(home, root) is None
    assert not list(home.undo.iterdir())


def test_a_sudo_that_asks_for_a_password_changes_nothing(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo(tmp_path, monkeypatch, "echo 'sudo: a password is required' >&2; exit 1")
    failure = governor.set_performance(home, root)
    assert failure is not None
    assert "a password is required" in failure
    assert governors(root) == ["ondemand", "ondemand"]


def test_without_sudo_or_governor_it_says_so(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sudo cannot be used" in (governor.set_performance(home, root) or "")
    shutil.rmtree(root / "sys/devices/system/cpu")
    assert governor.set_performance(home, root) == "the kernel offers no governor"


def test_nothing_is_done_where_it_is_performance_already(
    root: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sudo(tmp_path, monkeypatch, "exit 1")
    for cpu in (0, 1):
        (root / GOVERNOR.format(cpu)).write_text("performance\n")
    assert governor.set_performance(home, root) is None
    assert not home.undo.exists()


def test_a_damaged_record_is_removed_and_named(root: Path, home: Home) -> None:
    home.undo.mkdir()
    (home.undo / "governor.json").write_text("{")
    assert "damaged" in (governor.undo(home, root) or "")
    assert not list(home.undo.iterdir())
