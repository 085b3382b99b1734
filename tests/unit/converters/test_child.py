"""How a worker process begins and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress_converters.child import Child, ChildDied
from support.worker_processes import ending, host

BUSY_WITH_A_FILE = {"task": "run", "model": "", "outputs": "", "input_positions": [], "output_positions": []}
HOST_OF_A_BUSY_WORKER = f"""
import signal, sys
from edgepress_converters.child import Child

child = Child()
child.tell({{**{BUSY_WITH_A_FILE}, "inputs": sys.argv[1]}})
print(child.pid, flush=True)
signal.pause()
"""
# Inside this regular expression the interpreter's lock is held for longer than anybody will wait.
BUSY_IN_C = """
import re, sys
from edgepress_converters.worker.lifeline import end_with_host

end_with_host(int(sys.argv[1]))
print("busy", flush=True)
re.match(r"(a+)+$", "a" * 60 + "b")
"""


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: who reads it waits until the test closes the other end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.kill()


def test_a_busy_worker_ends_when_its_host_is_killed(pipe: Path) -> None:
    with host(HOST_OF_A_BUSY_WORKER, str(pipe)) as (process, worker), pipe.open("wb"), ending(worker):
        process.kill()


def test_a_process_that_holds_the_interpreters_lock_ends_when_its_lifeline_is_cut() -> None:
    read_end, write_end = os.pipe()
    argv = [sys.executable, "-c", BUSY_IN_C, str(read_end)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, pass_fds=(read_end,)) as process:
        os.close(read_end)
        assert process.stdout is not None
        process.stdout.readline()
        with ending(process.pid):
            os.close(write_end)


def test_a_process_whose_host_was_faster_does_not_begin() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    argv = [sys.executable, "-c", BUSY_IN_C, str(read_end)]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, pass_fds=(read_end,), check=False, timeout=30)
    os.close(read_end)
    assert ended.returncode < 0
    assert ended.stdout == b""


def test_ctrl_c_in_the_terminal_does_not_reach_the_worker(child: Child) -> None:
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)


def test_a_worker_does_not_see_the_hosts_gpu(child: Child) -> None:
    environment = Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_VISIBLE_DEVICES=-1" in environment


def test_what_a_dying_worker_said_last_can_be_read(child: Child) -> None:
    with pytest.raises(ChildDied, match="exited with code 1") as caught:
        child.ask({"task": "run", "inputs": "/no/such/file.npz"}, timeout_s=30)
    assert caught.value.signal == ""
    assert "No such file or directory: '/no/such/file.npz'" in child.last_lines(0)


def test_a_worker_that_does_not_answer_in_time_is_still_there_to_be_killed(child: Child, pipe: Path) -> None:
    with pytest.raises(TimeoutError):
        child.ask({**BUSY_WITH_A_FILE, "inputs": str(pipe)}, timeout_s=0.1)
    with ending(child.pid):
        child.kill()
