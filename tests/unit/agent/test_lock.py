from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress_agent.lock import BoardLock, lock_path, read_lock
from edgepress_agent.protocol.messages import LockState

TAKE_AND_STAY = """
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from edgepress_agent.lock import BoardLock
lock = BoardLock(Path(sys.argv[1]))
assert lock.try_take("job-1", "ann@laptop")
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edgepress.lock"


def test_one_process_holds_the_lock_and_others_can_see_which(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_AND_STAY, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        assert not BoardLock(path).try_take("job-2", "bob@desk")
        seen = read_lock(path)
        assert (seen.held, seen.job_id, seen.requested_by) == (True, "job-1", "ann@laptop")
        assert seen.since_unix_ns is not None
        holder.kill()
    assert read_lock(path) == LockState(held=False)
    assert BoardLock(path).try_take("job-2", "bob@desk")


def test_a_lock_that_was_released_can_be_taken_again(path: Path) -> None:
    first = BoardLock(path)
    assert first.try_take("a", "ann")
    first.release()
    second = BoardLock(path)
    assert second.try_take("b", "bob")
    assert read_lock(path).job_id == "b"
    second.release()


def test_asking_neither_creates_nor_takes_the_lock(path: Path) -> None:
    assert read_lock(path) == LockState(held=False)
    assert not path.exists()


def test_everybody_may_open_the_file_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        lock = BoardLock(path)
        lock.try_take("a", "ann")
        lock.release()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666


def test_a_link_put_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        BoardLock(path).try_take("a", "ann")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("nonsense", [b"", b"{", b'{"held": 5}', b"\xff"])
def test_a_lock_whose_holder_cannot_be_read_is_still_held(path: Path, nonsense: bytes) -> None:
    lock = BoardLock(path)
    lock.try_take("a", "ann")
    path.write_bytes(nonsense)
    assert read_lock(path) == LockState(held=True)
    lock.release()


def test_all_users_choose_the_first_folder_that_is_writable_for_everybody(tmp_path: Path) -> None:
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir(mode=0o755)
    shared.mkdir()
    shared.chmod(0o1777)
    folders = [str(tmp_path / "missing"), str(private), str(shared)]
    assert lock_path({}, folders) == shared / "edgepress.lock"
    with pytest.raises(FileNotFoundError, match="writable for everybody"):
        lock_path({}, folders[:2])


def test_the_environment_may_name_another_file(path: Path) -> None:
    assert lock_path({"EDGEPRESS_LOCK": str(path)}) == path


@pytest.fixture
def sticky_folder() -> Iterator[Path]:
    """A folder that everybody reaches and may write to, like /run/lock. pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to write as two users")
def test_another_user_can_take_the_lock_in_a_sticky_folder(sticky_folder: Path) -> None:
    """fs.protected_regular forbids O_CREAT there on a file of somebody else's."""
    path = sticky_folder / "edgepress.lock"
    mine = BoardLock(path)
    mine.try_take("a", "root")
    mine.release()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            status = 0 if BoardLock(path).try_take("b", "nobody") else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read_lock(path).held is False
