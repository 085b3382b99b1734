"""`edgepress emulator` as a user types it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.device_board import ended_with_us, has_ended, why_not_emulated
from support.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The command line with a machine `pi`; whatever the test does, it is off afterwards."""
    if reason := why_not_emulated():
        pytest.skip(reason)
    monkeypatch.setenv("EDGEPRESS_MACHINES", str(tmp_path / "machines"))
    shell = Shell(tmp_path)
    with ended_with_us(tmp_path / "machines"):
        shell.run("emulator", "create", "pi")
        yield shell


def test_a_board_is_started_used_stopped_and_destroyed(shell: Shell, tmp_path: Path) -> None:
    on = shell.json("emulator", "start", "pi")["machine"]
    assert on["state"] == "on"
    process = psutil.Process(on["pid"])
    facts = shell.json("device", "check", "pi")["facts"]
    assert (facts["machine"], facts["emulated"]) == ("aarch64", True)
    assert "edgepress: up at" in shell.run("emulator", "console", "pi").stdout

    assert shell.json("emulator", "stop", "pi")["machine"]["state"] == "off"
    assert has_ended(process)
    assert "pi  off" in shell.run("emulator", "status").stdout

    shell.run("emulator", "destroy", "pi")
    assert not (tmp_path / "machines/pi").exists()
    refused = shell.run("emulator", "start", "pi", code=1)
    assert "no emulated board named 'pi'; there are none" in refused.stderr
    shell.run("device", "check", "pi", code=1)
