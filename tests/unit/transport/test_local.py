"""This machine as a device."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.errors import LinkLostError, TransportError
from edgepress.transport.base import STDERR_TAIL_BYTES
from edgepress.transport.local import LocalTransport

ECHO = "import sys\nwhile data := sys.stdin.buffer.readline():\n    sys.stdout.buffer.write(data); sys.stdout.flush()"


@pytest.fixture
def transport() -> Iterator[LocalTransport]:
    with LocalTransport(environment={"EDGEPRESS_TEST": "a b"}) as transport:
        yield transport


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def test_a_command_gets_its_input_and_environment_and_returns_all_it_said(transport: LocalTransport) -> None:
    program = "import os, sys; print(os.environ['EDGEPRESS_TEST'], sys.stdin.read()); sys.exit('bad')"
    done = transport.run(python(program), b"in")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"a b in\n", b"bad\n")


def test_a_command_that_does_not_exist_answers_as_a_shell_would(transport: LocalTransport) -> None:
    assert transport.run(["no-such-program"]).returncode == 127
    with pytest.raises(LinkLostError, match="no-such-program cannot be started"):
        transport.open(["no-such-program"])


def test_a_command_that_does_not_end_is_ended_by_its_deadline(transport: LocalTransport) -> None:
    with pytest.raises(LinkLostError, match=r"within 0\.2 s"):
        transport.run(python("import time; time.sleep(60)"), timeout_s=0.2)


def test_a_channel_is_duplex(transport: LocalTransport) -> None:
    channel = transport.open(python(ECHO))
    for word in (b"one\n", b"two\n"):
        channel.write(word, soon())
        assert channel.read(100, soon()) == word


def test_a_wait_ends_by_its_deadline(transport: LocalTransport) -> None:
    channel = transport.open(python(ECHO))
    with pytest.raises(LinkLostError, match="until the deadline passed"):
        channel.read(1, soon(0.1))


def test_a_write_that_nobody_reads_ends_by_its_deadline(transport: LocalTransport) -> None:
    channel = transport.open(python("import time; time.sleep(60)"))
    with pytest.raises(LinkLostError, match="until the deadline passed"):
        channel.write(bytes(1 << 20), soon(0.3))
    channel._process.kill()  # type: ignore[attr-defined]


def test_a_far_side_that_ended_is_told_with_its_last_words(transport: LocalTransport) -> None:
    channel = transport.open(python("import sys; sys.exit('no such board\\x1b[31m')"))
    assert channel.read(1, soon()) == b""
    assert channel.last_words() == "exit status 1; it said: no such board\ufffd[31m"
    with pytest.raises(LinkLostError, match="has ended"):
        channel.write(b"hello", soon())


def test_much_on_standard_error_blocks_nothing_and_only_its_end_is_kept(transport: LocalTransport) -> None:
    program = "import sys\nsys.stderr.write('x' * 1_000_000 + 'the end')\nprint('done', flush=True)"
    channel = transport.open(python(program))
    assert channel.read(4, soon()) == b"done"
    last_words = channel.last_words()
    assert last_words.endswith("xthe end")
    assert len(last_words) < STDERR_TAIL_BYTES + 100


def test_a_file_is_put_whole(transport: LocalTransport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new")
    target = tmp_path / "target"
    transport.put(b"old", str(target))
    transport.put(source, str(target))
    assert target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_place_that_cannot_be_written_is_named(transport: LocalTransport, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="missing/file cannot be written"):
        transport.put(b"x", str(tmp_path / "missing" / "file"))
