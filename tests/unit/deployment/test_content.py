"""Models and inputs on their way into a board's content store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.deployment.content import push_inputs, push_model
from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig
from edgepress.errors import AgentError, DiskFullError
from edgepress.transport.fake import Answer, FakeTransport, Refusal, ScriptedAgent
from edgepress_agent.protocol.messages import Failure
from edgepress_agent.protocol.tensors import decode_arrays
from edgepress_converters.model import TFLiteModel
from support.reach_agents import HELLO, MemoryStore


class Shown:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float, float | None]] = []

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "steps") -> Iterator[_Bar]:
        yield _Bar(self, description)

    def note(self, message: str) -> None: ...


class _Bar:
    def __init__(self, shown: Shown, description: str) -> None:
        self._shown, self._description = shown, description

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self._shown.said.append((self._description, done, total))


def device_with(store: MemoryStore, **more: Any) -> Device:
    verbs = {"hello": lambda p, b: Answer(HELLO), **store.verbs(), **more}
    return Device(DeviceConfig(name="pi4", target="pi@pi4"), FakeTransport(ScriptedAgent(verbs)))


def model_of(content: bytes, path: Path) -> TFLiteModel:
    path.write_bytes(content)
    return TFLiteModel(path, hashlib.sha256(content).hexdigest(), len(content), (), (), (), (), ())


def test_a_model_is_stored_under_its_hash_and_progress_names_it(tmp_path: Path) -> None:
    store, shown = MemoryStore(), Shown()
    model = model_of(b"....TFL3" * 1000, tmp_path / "digits.tflite")
    push_model(device_with(store), model, shown)
    assert store.complete == {model.sha256: model.path.read_bytes()}
    assert shown.said == [("sending digits.tflite to pi4", done, 8000) for done in (0, 8000, 8000)]


def test_a_second_push_sends_no_payload(tmp_path: Path) -> None:
    store = MemoryStore()
    model = model_of(b"....TFL3" * 1000, tmp_path / "digits.tflite")
    push_model(device_with(store), model)
    push_model(device_with(store), model)
    assert store.received_bytes == model.size_bytes


def test_a_file_that_changed_since_it_was_read_is_refused(tmp_path: Path) -> None:
    model = model_of(b"....TFL3", tmp_path / "digits.tflite")
    model.path.write_bytes(b"....TFL4")
    with pytest.raises(AgentError, match="other bytes"):
        push_model(device_with(MemoryStore()), model)


def test_inputs_are_named_by_the_hash_of_their_content() -> None:
    store = MemoryStore()
    arrays = (np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 1), np.float32))
    sha256 = push_inputs(device_with(store), arrays)
    assert push_inputs(device_with(store), arrays) == sha256
    for sent, stored in zip(arrays, decode_arrays(store.complete[sha256]), strict=True):
        np.testing.assert_array_equal(sent, stored)


def test_a_full_disk_says_what_the_board_said(tmp_path: Path) -> None:
    def full(params: dict[str, Any], chunk: bytes | None) -> Answer:
        raise Refusal(Failure("disk-full", "8000 bytes are to come, 12 are free"))

    model = model_of(b"....TFL3" * 1000, tmp_path / "digits.tflite")
    with pytest.raises(DiskFullError, match=r"pi4: 8000 bytes are to come, 12 are free\. Free some space"):
        push_model(device_with(MemoryStore(), upload=full), model)
