"""From a reachable board to one with a runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig
from edgepress.devices.provisioning import install_runtime
from edgepress.errors import DiskFullError, ProvisioningError
from edgepress.transport.fake import Answer, FakeTransport, ScriptedAgent, Verb
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.messages import (
    PROTOCOL_VERSION,
    DeviceFacts,
    Failure,
    FileChunk,
    JobReport,
    JobState,
    Runtime,
)
from support.reach_agents import HELLO, LITERT, PI4, TFLITE

RUNNING = JobState("j1", "install", "running", 1, 1, 4, "installing", "me@here", 1, None, ())


class Board:
    """A board that installs what it is asked to, or fails so."""

    def __init__(self, facts: DeviceFacts = PI4, installs: Runtime = LITERT, failure: Failure | None = None) -> None:
        self.facts = facts
        self._installs = installs
        self._failure = failure
        self.agent = ScriptedAgent(self._verbs())

    def open(self, runtime: str | None = None) -> Device:
        config = DeviceConfig(name="pi4", target="pi@pi4", runtime=runtime)
        return Device(config, FakeTransport(self.agent))

    def asked(self) -> list[str]:
        return [verb for verb, _, _ in self.agent.requests]

    def _verbs(self) -> dict[str, Verb]:
        return {
            "hello": lambda p, b: Answer(HELLO),
            "facts": lambda p, b: Answer(self.facts),
            "start": lambda p, b: Answer(RUNNING),
            "wait": self._wait,
            "fetch": self._fetch,
            "cancel": lambda p, b: Answer(replace(RUNNING, status="cancelled")),
            "acknowledge": lambda p, b: Answer(),
        }

    def _wait(self, params: dict[str, Any], blob: bytes | None) -> Answer:
        if self._failure is None:
            self.facts = replace(self.facts, runtimes=(*self.facts.runtimes, self._installs))
        return Answer(replace(RUNNING, status="failed" if self._failure else "ended", revision=2))

    def _fetch(self, params: dict[str, Any], blob: bytes | None) -> Answer:
        status = "failed" if self._failure else "ended"
        report = JobReport(PROTOCOL_VERSION, "j1", "install", status, 1, 2, "0.1.0", None, failure=self._failure)
        data = json.dumps(to_wire(report)).encode()
        return Answer(FileChunk(params["name"], 0, len(data), sha256(data).hexdigest()), data)


def test_a_board_without_a_runtime_gets_the_one_that_fits() -> None:
    board = Board()
    with board.open() as device:
        assert install_runtime(device) == LITERT
        assert device.runtimes == (LITERT,)
    (install,) = [params["install"] for verb, params, _ in board.agent.requests if verb == "start"]
    assert install == {
        "name": "ai-edge-litert",
        "version": "2.1.6",
        "requirements": ["ai-edge-litert==2.1.6", "numpy", "psutil"],
    }
    assert board.asked()[-2:] == ["acknowledge", "facts"]


@pytest.mark.parametrize(
    ("wanted", "inventory"), [(None, None), ("ai-edge-litert", None), (None, "ai-edge-litert==2.1.6")]
)
def test_a_runtime_that_is_there_is_not_installed_again(wanted: str | None, inventory: str | None) -> None:
    board = Board(replace(PI4, runtimes=(LITERT,)))
    with board.open(inventory) as device:
        assert install_runtime(device, wanted) == LITERT
    assert "start" not in board.asked()


def test_another_runtime_than_the_one_that_is_there_can_be_had_beside_it() -> None:
    board = Board(replace(PI4, runtimes=(LITERT,)), installs=TFLITE)
    with board.open("tflite-runtime") as device:
        assert install_runtime(device) == TFLITE
        assert device.runtimes == (TFLITE, LITERT)


@pytest.mark.parametrize(
    ("facts", "wanted", "says"),
    [
        (replace(PI4, has_venv=False), None, r"without the module venv.*sudo apt install python3-venv"),
        (replace(PI4, python_version="3.13.5"), "tflite-runtime", r"no runtime fits this board"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_installed(
    facts: DeviceFacts, wanted: str | None, says: str
) -> None:
    board = Board(facts)
    with board.open() as device, pytest.raises(ProvisioningError, match=says):
        install_runtime(device, wanted)
    assert "start" not in board.asked()


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        (Failure("install-failed", "pip failed with status 1: no route"), ProvisioningError, r"2\.1\.6.*no route"),
        (Failure("deadline", "pip did not finish"), ProvisioningError, r"did not finish"),
        (Failure("disk-full", "only 5 bytes are free"), DiskFullError, r"only 5 bytes"),
    ],
)
def test_an_installation_that_fails_says_why_and_leaves_no_job_behind(
    failure: Failure, kind: type[Exception], says: str
) -> None:
    board = Board(failure=failure)
    with board.open() as device, pytest.raises(kind, match=says):
        install_runtime(device)
    assert board.asked()[-1] == "acknowledge"


def test_an_interrupted_installation_is_cancelled() -> None:
    class Interrupting:
        def task(self, description: str, total: float | None = None, unit: str = "steps") -> Any:
            raise KeyboardInterrupt

        def note(self, message: str) -> None: ...

    board = Board()
    with board.open() as device, pytest.raises(KeyboardInterrupt):
        install_runtime(device, progress=Interrupting())
    assert board.asked()[-3:] == ["cancel", "wait", "acknowledge"]
