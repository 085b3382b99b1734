"""Commands, files and streams over a real OpenSSH connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.devices.inventory import Inventory
from edgepress.devices.reach import connect
from edgepress.errors import LinkLostError, TransportError
from edgepress.transport.base import Transport
from support.sshd import start_board

pytestmark = pytest.mark.ssh


@pytest.fixture
def transport(inventory: Inventory) -> Iterator[Transport]:
    with connect(inventory.device("board"), inventory) as transport:
        yield transport


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize("word", ["two words", "$HOME", "`id`", "a;b", "'", '"', "*", "", "\\", "new\nline", "größe"])
def test_an_argument_arrives_as_it_was_given(word: str, transport: Transport) -> None:
    assert transport.run(["printf", "%s", word]).stdout == word.encode()


def test_status_and_both_outputs_come_back(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.returncode, done.stdout, done.stderr.strip()) == (7, b"out\n", b"err")


def test_a_command_that_does_not_exist_answers_127(transport: Transport) -> None:
    assert transport.run(["no-such-program"]).returncode == 127


def test_a_command_may_answer_while_it_still_reads(transport: Transport) -> None:
    data = bytes(5 << 20)  # more than both windows of a channel hold
    assert transport.run(["cat"], data).stdout == data


def test_a_command_may_end_without_reading(transport: Transport) -> None:
    assert transport.run(["true"], bytes(5 << 20)).returncode == 0


def test_much_on_standard_error_blocks_nothing(transport: Transport) -> None:
    done = transport.run(["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo out; echo end >&2"])
    assert done.stdout == b"out\n"
    assert done.stderr.endswith(b"xend")


def test_a_command_that_does_not_end_is_given_up_by_its_deadline(transport: Transport) -> None:
    began = time.monotonic()
    with pytest.raises(LinkLostError, match="no answer in time"):
        transport.run(["sleep", "60"], timeout_s=0.5)
    assert time.monotonic() - began < 5
    with pytest.raises(LinkLostError):
        transport.run(["true"])


def test_a_channel_is_duplex_and_tells_of_its_end(transport: Transport) -> None:
    channel = transport.open(["sh", "-c", "cat; echo gone >&2; exit 3"])
    channel.write(b"hello", soon())
    assert channel.read(100, soon()) == b"hello"
    channel._channel.shutdown_write()  # type: ignore[attr-defined]
    assert channel.read(100, soon()) == b""
    assert channel.last_words() == "exit status 3; it said: gone"
    channel.close()
    channel.close()


def test_small_commands_do_not_wait_for_nagle(transport: Transport) -> None:
    channel = transport.open(["cat"])
    channel.write(b"warm", soon())
    channel.read(4, soon())
    began = time.monotonic()
    for _ in range(20):
        channel.write(b"ping", soon())
        channel.write(b"pong", soon())  # a second small packet is what Nagle's algorithm holds back
        got = b""
        while len(got) < 8:
            got += channel.read(8 - len(got), soon())
    assert (time.monotonic() - began) / 20 < 0.03  # with it on, 40 ms each: the peer's delayed acknowledgement


def test_a_server_that_allows_few_sessions_at_a_time_is_enough(tmp_path: Path) -> None:
    """The session for the next command is opened early where that is allowed; where not, nothing is lost."""
    strict = start_board(tmp_path / "strict", "MaxSessions 3")
    inventory = strict.inventory(tmp_path)
    try:
        with connect(inventory.device("board"), inventory) as transport:
            for number in range(5):
                transport.put(b"%d" % number, f"{tmp_path}/{number}")
                assert transport.run(["cat", f"{tmp_path}/{number}"]).stdout == b"%d" % number
    finally:
        strict.stop()


def test_a_file_is_put_whole_and_replaces(transport: Transport, tmp_path: Path) -> None:
    target = tmp_path / "a file"
    transport.put(b"old", str(target))
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 4000)
    transport.put(source, str(target))
    assert target.read_bytes() == source.read_bytes()
    assert not Path(f"{target}.part").exists()


def test_a_file_whose_place_does_not_exist_is_an_error_that_names_it(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="missing/file cannot be written"):
        transport.put(b"x", str(tmp_path / "missing" / "file"))
    assert transport.run(["true"]).returncode == 0
