"""A runtime of a version that nothing is known of is asked on the board."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig
from edgepress.devices.probing import ask_unknown
from edgepress.errors import ProvisioningError
from edgepress.transport.base import Completed
from edgepress.transport.fake import Answer, FakeTransport, ScriptedAgent
from edgepress_converters import runtimes
from support.reach_agents import HELLO, LITERT

UNKNOWN = replace(LITERT, version="99.0")
ANSWER = {
    "runtime": "ai-edge-litert",
    "version": "99.0",
    "operators": {"ADD": [1, 40], "TILE": None},
    "types": ["FLOAT32"],
    "refused": {"ADD 3: FLOAT32 -> FLOAT32": "answers wrongly"},
}


@pytest.fixture(autouse=True)
def _nothing_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runtimes, "_learned_folder", lambda: tmp_path)
    runtimes.forget_answers()
    yield
    runtimes.forget_answers()


def board(said: bytes, returncode: int = 0) -> tuple[Device, FakeTransport]:
    def run(argv: Sequence[str], stdin: bytes) -> Completed:
        return Completed(returncode, said, b"Illegal instruction") if "all" in argv else Completed(0, b"", b"")

    transport = FakeTransport(ScriptedAgent({"hello": lambda p, b: Answer(HELLO)}), run)
    return Device(DeviceConfig(name="pi4", target="pi@pi4"), transport), transport


def test_its_answer_is_kept_and_judges_models_from_then_on() -> None:
    device, transport = board(json.dumps(ANSWER).encode())
    ask_unknown(device, UNKNOWN)
    (asked,) = [argv for argv in transport.commands if "all" in argv]
    assert asked[0] == UNKNOWN.python
    assert {asked[1], asked[3]} <= transport.files.keys()
    limits = runtimes.limits_of("ai-edge-litert", "99.0")
    assert limits is not None
    assert limits.operators == {"ADD": (1, 40), "TILE": None}
    ask_unknown(device, UNKNOWN)
    assert len([argv for argv in transport.commands if "all" in argv]) == 1


def test_a_known_version_is_not_asked() -> None:
    device, transport = board(b"")
    ask_unknown(device, LITERT)
    assert not transport.files


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        b"[]",
        b'{"runtime": "ai-edge-litert", "version": "99.0", "operators": [], "types": []}',
        json.dumps({**ANSWER, "version": "98.0"}).encode(),
    ],
)
def test_an_answer_that_is_none_is_an_error(said: bytes) -> None:
    device, _ = board(said)
    with pytest.raises(ProvisioningError, match=r"99\.0 was installed on pi4, but does not say what it takes"):
        ask_unknown(device, UNKNOWN)


def test_a_runtime_that_dies_of_the_question_is_an_error() -> None:
    device, _ = board(b"", returncode=132)
    with pytest.raises(ProvisioningError, match="Illegal instruction"):
        ask_unknown(device, UNKNOWN)
