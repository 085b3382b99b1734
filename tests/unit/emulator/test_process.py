"""A process is known by the lock on its pid file, never by a number that may be somebody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.emulator import process
from edgepress.emulator.process import Hardware
from edgepress.errors import EmulatorError

HOLD = (
    "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); "
    "print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock as QEMU does."""
    argv = [sys.executable, "-c", HOLD, str(tmp_path / process.PID_FILE)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        yield held


def test_the_process_that_holds_the_lock_is_the_machines(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert process.running_pid(tmp_path) == holder.pid
    holder.communicate()
    holder.wait()
    assert process.running_pid(tmp_path) is None


def test_a_pid_file_that_a_killed_process_left_behind_means_nothing(tmp_path: Path) -> None:
    (tmp_path / process.PID_FILE).write_text("1\n")
    assert process.running_pid(tmp_path) is None
    process.kill(tmp_path)  # and nobody is killed for it


def test_a_machine_that_was_never_on_has_no_process(tmp_path: Path) -> None:
    assert process.running_pid(tmp_path) is None
    assert process.wait_for_end(tmp_path, 0.0)


def test_killing_waits_for_the_end(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process.kill(tmp_path)
    assert process.running_pid(tmp_path) is None
    assert holder.wait() == -9


def test_the_port_that_qemu_chose_is_read() -> None:
    said = (
        "Hub -1 (net):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n"
        "  TCP[HOST_FORWARD]  11       127.0.0.1 45981       10.0.2.15    22     0     0\n"
    )
    assert process.forwarded_port(said) == 45981
    with pytest.raises(EmulatorError, match="forwards no port"):
        process.forwarded_port("")


def test_a_comma_in_a_path_does_not_end_qemus_option(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    argv = process.command(Hardware("cortex-a72", 1024, 2), folder / "k", folder / "i", folder / "disk", folder, 0)
    assert any(f"file={tmp_path}/a,,b/disk," in word for word in argv)


def test_a_machine_of_tests_ends_with_them_also_when_they_are_killed(
    holder: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from support.device_board import ended_with_us\n"
        "with ended_with_us(Path(sys.argv[2])): print('guarded', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(Path(__file__).parents[2]), str(tmp_path.parent)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline() == b"guarded\n"
        tests.kill()
    assert holder.wait(timeout=60) == -9


def test_only_a_machine_that_counts_instructions_has_a_clock_of_them_and_says_so(tmp_path: Path) -> None:
    usual, counting = (
        process.command(Hardware("cortex-a72", 1024, 1, counts), tmp_path, tmp_path, tmp_path, tmp_path, 0)
        for counts in (False, True)
    )
    assert counting[counting.index("-icount") + 1] == "shift=0"
    assert "tcg,thread=single" in counting
    assert any(word.endswith(" edgepress.clock=instructions") for word in counting)
    assert {"-icount", "tcg,thread=single"}.isdisjoint(usual)
    assert not any("edgepress.clock" in word for word in usual)
