"""What a board tries after a switch."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from edgepress_agent import health
from edgepress_agent.faults import Fault
from edgepress_agent.protocol.messages import HealthCheck

SYSTEMCTL = """#!/bin/sh
echo "$XDG_RUNTIME_DIR $*" >> "{log}"
case "$*" in *"{failing}"*) echo "Unit is broken" >&2; exit 1;; esac
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that notes how it was called, and fails for what the file `failing` says."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return write_systemctl(tmp_path, failing="nothing fails")


def write_systemctl(folder: Path, failing: str) -> Path:
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(log=folder / "called", failing=failing))
    program.chmod(0o755)
    return folder / "called"


def python(program: str, **more: float) -> HealthCheck:
    return HealthCheck(command=(sys.executable, "-c", program), **more)  # type: ignore[arg-type]


def test_a_command_that_succeeds_is_health(tmp_path: Path) -> None:
    health.try_out(python("print('fine')"), "digits", tmp_path)


def test_a_command_that_fails_is_named_with_the_end_of_what_it_said(tmp_path: Path) -> None:
    noise = python("print('x' * 100_000); print('no camera'); raise SystemExit(7)")
    with pytest.raises(Fault, match="failed with status 7: no camera") as refused:
        health.try_out(noise, "digits", tmp_path)
    assert refused.value.failure.code == "unhealthy"
    assert len(refused.value.failure.details["log"]) == 4000


def test_a_command_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    endless = (
        "import subprocess, sys, time; child = subprocess.Popen(['sleep', '600']);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); print('waiting', flush=True); time.sleep(600)"
    )
    with pytest.raises(Fault, match="did not end in time: waiting"):
        health.try_out(python(endless, deadline_s=1.0), "digits", tmp_path)
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    end = time.monotonic() + 10
    while state.exists() and state.read_text().split()[2] != "Z":  # init may be slow to bury it
        assert time.monotonic() < end


def test_what_a_command_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    begun = time.monotonic()
    health.try_out(python("import subprocess; subprocess.Popen(['sleep', '20'])", deadline_s=60), "digits", tmp_path)
    assert time.monotonic() - begun < 15


def test_a_program_that_is_not_there_is_not_health(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="'no-such-program' cannot be started: No such file"):
        health.try_out(HealthCheck(command=("no-such-program",)), "digits", tmp_path)


def test_a_unit_is_restarted_and_asked_whether_it_is_active(systemctl: Path, tmp_path: Path) -> None:
    health.try_out(HealthCheck("classifier.service"), "digits", tmp_path)
    place = f"/run/user/{os.getuid()}"
    assert systemctl.read_text().splitlines() == [
        f"{place} --user restart -- classifier.service",
        f"{place} --user is-active --quiet -- classifier.service",
    ]


@pytest.mark.parametrize("failing", ["restart", "is-active"])
def test_a_unit_that_does_not_come_up_is_not_health(systemctl: Path, tmp_path: Path, failing: str) -> None:
    write_systemctl(tmp_path, failing)
    with pytest.raises(Fault, match="failed with status 1: Unit is broken"):
        health.restart("classifier.service", 5.0)


@pytest.mark.parametrize(
    "check",
    [
        HealthCheck("--system"),
        HealthCheck("a b"),
        HealthCheck("../x"),
        HealthCheck("a\n"),
        HealthCheck(""),
        HealthCheck(command=("",)),
        HealthCheck(command=("a", "b\0")),
        HealthCheck(deadline_s=0.0),
        HealthCheck(deadline_s=3601.0),
    ],
)
def test_what_is_no_check_is_refused_before_anything_is_done(check: HealthCheck) -> None:
    with pytest.raises(Fault) as refused:
        health.check(check)
    assert refused.value.failure.code == "bad-request"


def test_names_of_units_are_taken_as_systemd_has_them() -> None:
    for unit in ("classifier.service", "camera@front.service", "dev-sda1.swap", r"x\x2dy.service"):
        health.check(HealthCheck(unit))
