"""The conversation with QEMU, against a socket that speaks as QEMU does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepress.emulator.qmp import Monitor, short_path
from edgepress.errors import EmulatorError

GREETING = {"QMP": {"version": {}, "capabilities": []}}
Answer = Callable[[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    """Start a QEMU that answers each command with the lines that a function gives; [] hangs up."""
    # Longer than the address of a socket may be.
    path = tmp_path / ("long" * 30) / "qmp.sock"
    path.parent.mkdir()
    server = socket.socket(socket.AF_UNIX)

    def serve(answer: Answer) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(json.dumps(GREETING).encode() + b"\n")
            stream.flush()
            for line in stream:
                lines = answer(json.loads(line))
                if not lines:
                    return
                stream.write(b"".join(json.dumps(one).encode() + b"\n" for one in lines))
                stream.flush()

    def start(answer: Answer) -> Path:
        with short_path(path) as name:
            server.bind(name)
        server.listen()
        threading.Thread(target=serve, args=(answer,), daemon=True).start()
        return path

    yield start
    server.close()


def test_a_command_gets_its_answer_past_events(qemu: Callable[[Answer], Path]) -> None:
    seen: list[dict[str, Any]] = []

    def answer(command: dict[str, Any]) -> list[dict[str, Any]]:
        seen.append(command)
        return [{"event": "RTC_CHANGE"}, {"return": {"running": True}}]

    with Monitor(qemu(answer)) as monitor:
        assert monitor.execute("query-status") == {"running": True}
        monitor.human("info usernet")
    assert [command["execute"] for command in seen] == ["qmp_capabilities", "query-status", "human-monitor-command"]
    assert seen[2]["arguments"] == {"command-line": "info usernet"}


def test_a_refusal_says_what_qemu_says(qemu: Callable[[Answer], Path]) -> None:
    def answer(command: dict[str, Any]) -> list[dict[str, Any]]:
        refused = {"error": {"class": "GenericError", "desc": "Device 'nic' not found"}}
        return [{"return": {}} if command["execute"] == "qmp_capabilities" else refused]

    with Monitor(qemu(answer)) as monitor, pytest.raises(EmulatorError, match="set_link: Device 'nic' not found"):
        monitor.execute("set_link", name="nic", up=False)


def test_a_qemu_that_ends_in_between_is_an_error(qemu: Callable[[Answer], Path]) -> None:
    def answer(command: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"return": {}}] if command["execute"] == "qmp_capabilities" else []

    with Monitor(qemu(answer)) as monitor, pytest.raises(EmulatorError, match="it has ended"):
        monitor.execute("query-status")


def test_nobody_at_the_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="does not answer"):
        Monitor(tmp_path / "qmp.sock")
