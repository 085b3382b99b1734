"""Getting in: host keys, users' keys, and doors that stay closed. Against a real OpenSSH server."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread

import pytest

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.reach import accept, connect, fetch_host_key
from edgepress.errors import (
    AuthenticationError,
    ChangedHostKeyError,
    EdgepressError,
    UnknownHostKeyError,
    UnreachableError,
)
from support.sshd import Board, start_board

pytestmark = pytest.mark.ssh


def reach(inventory: Inventory) -> str:
    with connect(inventory.device("board"), inventory) as transport:
        return transport.run(["printf", "%s", "in"]).stdout.decode()


class TestHostKeys:
    def test_first_contact_shows_the_fingerprint_and_is_refused_until_it_is_accepted(
        self, board: Board, tmp_path: Path
    ) -> None:
        inventory = board.inventory(tmp_path, trusted=False)
        with pytest.raises(UnknownHostKeyError, match="edgepress device trust board") as caught:
            reach(inventory)
        assert caught.value.fingerprint == board.host_fingerprint()
        assert not inventory.known_hosts.exists()
        device = inventory.device("board")
        offered = fetch_host_key(device, inventory)
        assert offered.is_device
        assert offered.key.fingerprint == board.host_fingerprint()
        accept(device, inventory, offered)
        assert reach(inventory) == "in"
        assert inventory.known_hosts.read_text() == board.known_hosts_line()

    def test_a_key_that_the_user_accepted_with_ssh_counts(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path, trusted=False)
        users = tmp_path / "user_known_hosts"
        users.write_text(board.known_hosts_line())
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(users)], check=True, capture_output=True)
        hashed = users.read_text()
        assert "127.0.0.1" not in hashed
        users.write_text("@cert-authority * ssh-ed25519 AAAA\nnot a line\n" + hashed)
        assert reach(inventory) == "in"

    def test_a_changed_key_is_refused_and_cannot_be_accepted_in_passing(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path, trusted=False)
        kind, old = (board.directory / "stranger.pub").read_text().split()[:2]
        inventory.known_hosts.write_text(f"[127.0.0.1]:{board.port} {kind} {old}\n")
        with pytest.raises(ChangedHostKeyError, match="another machine may be answering") as caught:
            reach(inventory)
        assert board.host_fingerprint() in str(caught.value)
        device = inventory.device("board")
        with pytest.raises(ChangedHostKeyError, match=re.escape(str(inventory.known_hosts))):
            accept(device, inventory, fetch_host_key(device, inventory))

    def test_a_key_of_another_type_does_not_stand_in_for_one_that_is_known(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path, trusted=False)
        other = tmp_path / "ecdsa"
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(other)], check=True)
        kind, key = other.with_suffix(".pub").read_text().split()[:2]
        inventory.known_hosts.write_text(f"[127.0.0.1]:{board.port} {kind} {key}\n")
        with pytest.raises(ChangedHostKeyError):
            reach(inventory)

    def test_a_revoked_key_is_refused_although_it_was_accepted(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path)
        (tmp_path / "user_known_hosts").write_text("@revoked * " + board.known_hosts_line().split(" ", 1)[1])
        with pytest.raises(ChangedHostKeyError, match="revoked"):
            reach(inventory)


class TestKeys:
    def test_a_key_that_the_board_does_not_know_is_named(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path, target="board-wrong-key")
        with pytest.raises(AuthenticationError, match=r"none of the keys offered: .*stranger.*ssh-copy-id"):
            reach(inventory)

    def test_a_missing_key_says_that_there_was_none_to_offer(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path)
        use_identity(inventory, tmp_path / "missing")
        with pytest.raises(AuthenticationError, match="there was none to offer"):
            reach(inventory)

    def test_a_file_that_is_no_key_is_named_and_not_quoted(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path)
        (tmp_path / "broken").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n")
        use_identity(inventory, tmp_path / "broken")
        with pytest.raises(AuthenticationError, match=r"could not be read as private keys: .*broken") as caught:
            reach(inventory)
        assert "c2VjcmV0" not in str(caught.value)


def use_identity(inventory: Inventory, identity: Path) -> None:
    config = inventory.path.with_name("ssh_config")
    config.write_text(f"Host board\n  IdentityFile {identity}\n" + re.sub(r"Host board\n.*\n", "", config.read_text()))


class TestUnreachable:
    def test_a_port_where_nobody_listens(self, board: Board, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{port}\) cannot be reached.*Is it switched on"):
            reach(board.inventory(tmp_path, port=port))

    def test_a_name_that_nobody_knows(self, board: Board, tmp_path: Path) -> None:
        with pytest.raises(UnreachableError, match=r"no-such-board\.invalid"):
            reach(board.inventory(tmp_path, target="pi@no-such-board.invalid"))

    def test_something_that_is_no_ssh_server(self, board: Board, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            inventory = board.inventory(tmp_path, port=server.getsockname()[1])
            server.listen()

            def hang_up() -> None:
                connection, _ = server.accept()
                connection.sendall(b"220 mail\r\n")
                connection.close()

            thread = Thread(target=hang_up)
            thread.start()
            with pytest.raises(UnreachableError, match="no SSH server"):
                reach(inventory)
            thread.join()

    def test_something_that_says_nothing_is_given_up(
        self, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgepress.transport.ssh_link.HANDSHAKE_TIMEOUT_S", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as server:
            inventory = board.inventory(tmp_path, port=server.getsockname()[1])
            began = time.monotonic()
            with pytest.raises(UnreachableError, match="no SSH server"):
                reach(inventory)
            assert time.monotonic() - began < 5


def test_no_secret_of_the_configuration_is_in_any_error(board: Board, tmp_path: Path) -> None:
    secrets = [line for line in board.identity.read_text().splitlines() if not line.startswith("-----")]
    inventory = board.inventory(tmp_path, target="board-wrong-key")
    with pytest.raises(EdgepressError) as caught:
        reach(inventory)
    assert not any(secret in str(caught.value) for secret in secrets)


def test_a_board_that_is_switched_off_is_unreachable(tmp_path: Path) -> None:
    board = start_board(tmp_path / "board")
    inventory = board.inventory(tmp_path)
    try:
        assert reach(inventory) == "in"
    finally:
        board.stop()
    with pytest.raises(UnreachableError):
        Device.open("board", inventory)
