from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import dumps, to_wire
from edgepress_agent.protocol.messages import Runtime
from edgepress_agent.runtimes import MARKER, choose, describe, find_runtimes


def runtime(version: str, name: str = "ai-edge-litert") -> Runtime:
    return Runtime(name, version, "3.11.2", "2.1.0", sys.executable)


def test_the_runtime_beside_the_agent_is_found_by_its_metadata() -> None:
    found = describe("ai-edge-litert")
    assert found is not None
    assert found.version == metadata.version("ai-edge-litert")
    assert found.numpy_version == metadata.version("numpy")
    assert found.python == sys.executable
    assert describe("no-such-runtime") is None


def test_tflite_runtime_beside_numpy_2_is_no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports, and then fails as soon as an Interpreter is made."""
    versions = {"tflite-runtime": "2.14.0", "numpy": "2.1.0"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    assert describe("tflite-runtime") is None
    versions["numpy"] = "1.26.4"
    assert describe("tflite-runtime") == Runtime(
        "tflite-runtime", "2.14.0", sys.version.split()[0], "1.26.4", sys.executable
    )


def test_only_installations_that_came_to_their_end_are_found(home: Home) -> None:
    complete, begun, broken, lost = (home.runtimes / name for name in ("a", "b", "c", "d"))
    for folder in (complete, begun, broken, lost):
        folder.mkdir(parents=True)
    (complete / MARKER).write_bytes(dumps(to_wire(runtime("2.1.6"))))
    (broken / MARKER).write_bytes(b"{")
    gone = Runtime("ai-edge-litert", "1.4.0", "3.11.2", "2.1.0", str(home.root / "no" / "python"))
    (lost / MARKER).write_bytes(dumps(to_wire(gone)))
    assert find_runtimes(home)[0] == runtime("2.1.6")
    assert len(find_runtimes(home)) == 1 + len(find_runtimes(Home(Path("/nowhere"))))


def test_without_a_version_the_newest_is_chosen() -> None:
    there = (runtime("2.1.6"), runtime("2.10.0"), runtime("2.9"), runtime("9.0", "tflite-runtime"))
    assert choose(there, "ai-edge-litert", None).version == "2.10.0"
    assert choose(there, "ai-edge-litert", "2.1.6").version == "2.1.6"


def test_a_runtime_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        Fault, match=r"no runtime tflite-runtime on this board; it has ai-edge-litert 2\.1\.6"
    ) as refused:
        choose((runtime("2.1.6"),), "tflite-runtime", None)
    assert refused.value.failure.code == "no-runtime"
    with pytest.raises(Fault, match="it has none"):
        choose((), "ai-edge-litert", "1.4.0")
