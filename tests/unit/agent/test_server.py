from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress_agent import __version__
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import from_wire
from edgepress_agent.protocol.frames import StreamEnded
from edgepress_agent.protocol.messages import PROTOCOL_VERSION, DeviceFacts, Hello, LockState
from support.agent_process import AgentProcess, Refused

# Serves, and leaves the names of the modules that were loaded on standard error.
LISTING_MODULES = """
import os, sys
from edgepress_agent.home import Home
from edgepress_agent.server import serve
status = serve(Home.from_environment(os.environ))
sys.stderr.write("modules: " + " ".join(sorted(sys.modules)))
sys.exit(status)
"""

# Serves, with something that writes wherever it can whenever facts are asked for.
NOISY = """
import ctypes, os, sys
from edgepress_agent import server
from edgepress_agent.home import Home
quiet = server.read_facts
def noisy(home):
    print("Python prints", flush=True)
    sys.__stdout__.write("so does somebody who kept it"), sys.__stdout__.flush()
    os.write(1, b"a descriptor is written to\\n")
    ctypes.CDLL(None).puts(b"C prints"), ctypes.CDLL(None).fflush(None)
    os.system("echo a child prints; cat")
    return quiet(home)
server.read_facts = noisy
sys.exit(server.serve(Home.from_environment(os.environ)))
"""


def test_hello_says_who_answers(agent: AgentProcess, home: Home) -> None:
    hello = from_wire(Hello, agent.call("hello"))
    assert hello == Hello(
        protocol=PROTOCOL_VERSION,
        agent_version=__version__,
        agent_sha256=None,
        python_version=".".join(map(str, sys.version_info[:3])),
        home=str(home.root),
        pid=agent.process.pid,
    )


def test_the_server_loads_neither_numpy_nor_a_runtime_nor_anything_of_the_hosts(home: Home, lock_file: Path) -> None:
    with AgentProcess(home.root, lock_file, [sys.executable, "-c", LISTING_MODULES]) as agent:
        agent.call("hello")
        agent.call("facts")
        agent.call("jobs")
    loaded = (home.root.parent / "agent.stderr").read_text().rpartition("modules: ")[2].split()
    assert "edgepress_agent.server" in loaded
    top = {name.partition(".")[0] for name in loaded}
    assert top.isdisjoint({"numpy", "psutil", "ai_edge_litert", "tflite_runtime", "tensorflow", "keras", "paramiko"})
    assert top.isdisjoint({"pydantic", "edgepress", "edgepress_converters"})


def test_what_anybody_prints_does_not_reach_the_frames(home: Home, lock_file: Path) -> None:
    with AgentProcess(home.root, lock_file, [sys.executable, "-c", NOISY]) as agent:
        assert from_wire(DeviceFacts, agent.call("facts")).cpu_count == os.cpu_count()
        assert from_wire(DeviceFacts, agent.call("facts")).machine == os.uname().machine
    said = (home.root.parent / "agent.stderr").read_text()
    for noise in ("Python prints", "who kept it", "descriptor is written", "C prints", "child prints"):
        assert said.count(noise) == 2


def test_an_unknown_verb_is_refused_and_the_known_ones_are_named(agent: AgentProcess) -> None:
    with pytest.raises(Refused, match=r"unknown-verb: verb 'fly' is not known; known are acknowledge, activate"):
        agent.call("fly")
    assert agent.call("hello")


@pytest.mark.parametrize(
    ("request_", "answered_id"),
    [
        ({}, None),
        ({"id": 1}, 1),
        ({"id": True, "verb": "hello"}, None),
        ({"id": 2, "verb": 5}, 2),
        ({"id": 3, "verb": "hello", "params": []}, 3),
        ({"id": 4, "verb": "hello", "params": {"x": 1}}, 4),
        ({"id": 5, "verb": "hello", "extra": 1}, 5),
        ({"id": 6, "verb": "stat", "params": {"sha256": 7}}, 6),
        ({"id": 7, "verb": "stat", "params": {"sha256": "../../etc/passwd"}}, 7),
        ({"id": 8, "verb": "upload", "params": {"sha256": "0" * 64, "offset": 0, "total_bytes": 1}}, 8),
        ({"id": 9, "verb": "start", "params": {"kind": "benchmark"}}, 9),
        ({"id": 10, "verb": "wait", "params": {"job_id": "x", "seen": 0, "timeout_s": "soon"}}, 10),
    ],
)
def test_a_request_of_the_wrong_form_is_answered_and_the_next_one_too(
    agent: AgentProcess, request_: dict[str, object], answered_id: int | None
) -> None:
    agent.send(request_)
    answer = agent.read().header
    assert answer["id"] == answered_id
    assert answer["error"]["code"] == "bad-request"
    assert agent.call("hello")


@pytest.mark.parametrize("verb", ["fetch", "wait", "cancel", "acknowledge"])
@pytest.mark.parametrize("job_id", ["20200101T000000000-00000000", "../../etc", "", "a\0b", "x" * 10_000])
def test_no_job_is_found_under_a_name_that_is_none(agent: AgentProcess, verb: str, job_id: str) -> None:
    more = {
        "fetch": {"name": "report.json", "offset": 0, "max_bytes": 1},
        "wait": {"seen": 0, "timeout_s": 0.0},
    }.get(verb, {})
    with pytest.raises(Refused) as refused:
        agent.call(verb, job_id=job_id, **more)
    assert refused.value.code == "not-found"


def test_bytes_that_are_no_frame_are_answered_with_one_error_and_the_end(agent: AgentProcess) -> None:
    assert agent.process.stdin is not None
    agent.process.stdin.write(b"SSH-2.0-OpenSSH_9.2 is not a frame")
    agent.process.stdin.flush()
    answer = agent.read().header
    assert answer["id"] is None
    assert answer["error"]["code"] == "bad-request"
    with pytest.raises(StreamEnded) as ended:
        agent.read()
    assert not ended.value.mid_frame
    assert agent.process.wait(10) == 1


def test_a_blob_that_was_changed_on_the_way_ends_the_conversation(agent: AgentProcess) -> None:
    header = b'{"id":1,"verb":"hello","blob":{"bytes":3,"sha256":"' + b"0" * 64 + b'"}}'
    assert agent.process.stdin is not None
    agent.process.stdin.write(len(header).to_bytes(4, "big") + header + b"abc")
    agent.process.stdin.flush()
    assert agent.read().header["error"]["code"] == "bad-request"
    assert agent.process.wait(10) == 1


def test_the_end_of_standard_input_ends_the_server_well_and_a_cut_frame_does_not(home: Home, lock_file: Path) -> None:
    agent = AgentProcess(home.root, lock_file)
    agent.call("hello")
    assert agent.close() == 0
    agent = AgentProcess(home.root, lock_file)
    assert agent.process.stdin is not None
    agent.process.stdin.write(b"\0\0")
    agent.process.stdin.flush()
    assert agent.close() == 1


def test_ctrl_c_ends_the_server_without_a_traceback(home: Home, lock_file: Path) -> None:
    agent = AgentProcess(home.root, lock_file)
    agent.call("hello")
    agent.process.send_signal(signal.SIGINT)
    assert agent.process.wait(10) == 130
    agent.close()
    assert (home.root.parent / "agent.stderr").read_text() == ""


def test_a_fault_of_the_agents_own_is_answered_with_its_traceback(home: Home, lock_file: Path) -> None:
    (home.root / "jobs").write_text("a file where a folder should be")
    script = "import edgepress_agent.server as s; s.read_facts = lambda home: 1 / 0; import os, sys; "
    script += "sys.exit(s.serve(s.Home.from_environment(os.environ)))"
    with AgentProcess(home.root, lock_file, [sys.executable, "-c", script]) as agent:
        with pytest.raises(Refused, match="internal: ZeroDivisionError") as refused:
            agent.call("facts")
        assert "1 / 0" in refused.value.details["traceback"] or "lambda" in refused.value.details["traceback"]
        assert agent.call("hello")


def test_nobody_holds_a_lock_that_nobody_has_taken(agent: AgentProcess) -> None:
    assert from_wire(LockState, agent.call("lock")) == LockState(held=False)


def test_the_version_is_printed_without_a_home() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "edgepress_agent", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout.strip() == __version__
