"""What only a person can give: passphrases, passwords, answers. Asked for when nothing else is left, kept nowhere."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgepress.devices.inventory import Inventory
from edgepress.devices.reach import connect
from edgepress.errors import AuthenticationError
from edgepress.transport import ssh_auth
from edgepress.transport.secrets import Secrets
from support.login_server import LoginServer
from support.sshd import Board, make_key

pytestmark = pytest.mark.ssh


def reach(inventory: Inventory) -> str:
    with connect(inventory.device("board"), inventory) as transport:
        return transport.run(["printf", "%s", "in"]).stdout.decode()


class Person:
    """Answers questions in turn; nothing when there is no answer left. ``heard`` is what was asked."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.heard: list[str] = []

    def __call__(self, question: str) -> str:
        self.heard.append(question)
        return self._answers.pop(0) if self._answers else ""


@pytest.fixture
def sit_down(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Person]:
    """Let a person sit in front of this process."""

    def sit(*answers: str) -> Person:
        person, secrets = Person(*answers), Secrets()
        secrets.ask_with(person)
        monkeypatch.setattr(ssh_auth, "SECRETS", secrets)
        return person

    return sit


@pytest.fixture
def encrypted(board: Board, tmp_path: Path) -> Iterator[Path]:
    """A key under the passphrase ``secret`` that the board accepts."""
    key = tmp_path / "encrypted"
    make_key(key, "secret")
    authorized = board.directory / "authorized_keys"
    before = authorized.read_text()
    authorized.write_text(before + Path(f"{key}.pub").read_text())
    yield key
    authorized.write_text(before)


@contextmanager
def ssh_agent(directory: Path, *keys: Path) -> Iterator[Path]:
    """A real ssh-agent with these keys, all under the passphrase ``secret`` or none; gives its socket."""
    path, ask = directory / "agent.sock", directory / "ask"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o700)
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        asking = {**os.environ, "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], env=asking, check=True, stdin=subprocess.DEVNULL)
        try:
            yield path
        finally:
            agent.terminate()


def use(inventory: Inventory, *lines: str) -> None:
    """Put lines of configuration before those of the board."""
    config = inventory.path.with_name("ssh_config")
    config.write_text("Host board\n" + "".join(f"  {line}\n" for line in lines) + config.read_text())


def without_key(inventory: Inventory) -> None:
    config = inventory.path.with_name("ssh_config")
    config.write_text(re.sub(r"Host board\n  IdentityFile .*\n", "", config.read_text()))


class TestPassphrases:
    def test_a_person_opens_an_encrypted_key_and_is_asked_once_for_all_connections(
        self, board: Board, encrypted: Path, tmp_path: Path, sit_down: Callable[..., Person]
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        use(inventory, f"IdentityFile {encrypted}")
        person = sit_down("wrong", "secret")
        assert (reach(inventory), reach(inventory)) == ("in", "in")
        assert person.heard == [f"passphrase of {encrypted}"] * 2

    def test_nobody_is_asked_when_a_key_lets_in_without(
        self, board: Board, encrypted: Path, tmp_path: Path, sit_down: Callable[..., Person]
    ) -> None:
        inventory = board.inventory(tmp_path)
        use(inventory, f"IdentityFile {encrypted}")
        person = sit_down()
        assert reach(inventory) == "in"
        assert person.heard == []

    def test_batch_mode_asks_nobody(
        self, board: Board, encrypted: Path, tmp_path: Path, sit_down: Callable[..., Person]
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        use(inventory, f"IdentityFile {encrypted}", "BatchMode yes")
        person = sit_down("secret")
        with pytest.raises(AuthenticationError, match="protected by a passphrase"):
            reach(inventory)
        assert person.heard == []

    def test_who_knows_no_passphrase_is_told_about_the_agent(
        self, board: Board, encrypted: Path, tmp_path: Path, sit_down: Callable[..., Person]
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        use(inventory, f"IdentityFile {encrypted}")
        sit_down("guess", "another guess", "a third")
        with pytest.raises(AuthenticationError, match="ssh-add") as caught:
            reach(inventory)
        assert "guess" not in str(caught.value)


class TestAgents:
    def test_the_agent_that_the_configuration_names_is_asked(
        self, board: Board, encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        with ssh_agent(tmp_path, encrypted) as path:
            use(inventory, f"IdentityFile {encrypted}", f"IdentityAgent {path}")
            assert reach(inventory) == "in"

    def test_an_encrypted_key_that_the_usual_agent_holds_lets_in(
        self, board: Board, encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        use(inventory, f"IdentityFile {encrypted}")
        with pytest.raises(AuthenticationError, match=rf"no ssh-agent.*ssh-add {re.escape(str(encrypted))}"):
            reach(inventory)
        with ssh_agent(tmp_path, encrypted) as path:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            assert reach(inventory) == "in"

    def test_an_encrypted_key_without_its_public_file_is_found_in_the_agent(
        self, board: Board, encrypted: Path, tmp_path: Path
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        with ssh_agent(tmp_path, encrypted) as path:
            Path(f"{encrypted}.pub").unlink()
            use(inventory, f"IdentityFile {encrypted}", f"IdentityAgent {path}")
            assert reach(inventory) == "in"

    def test_an_identity_may_be_named_by_its_public_file_alone(
        self, board: Board, encrypted: Path, tmp_path: Path
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        with ssh_agent(tmp_path, encrypted) as path:
            encrypted.unlink()
            use(inventory, f"IdentityFile {encrypted}.pub", f"IdentityAgent {path}")
            assert reach(inventory) == "in"

    def test_an_agent_that_the_configuration_turns_off_is_left_alone(
        self, board: Board, encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        with ssh_agent(tmp_path, encrypted) as path:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            use(inventory, f"IdentityFile {encrypted}", "IdentityAgent none")
            with pytest.raises(AuthenticationError, match="there was none to offer"):
                reach(inventory)

    def test_identities_only_keeps_the_agents_other_keys_back(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path, target="board-wrong-key")
        with ssh_agent(tmp_path, board.identity) as path:
            use(inventory)  # the alias of this target stands in its own lines
            config = inventory.path.with_name("ssh_config")
            config.write_text(f"Host *\n  IdentityAgent {path}\n" + config.read_text())
            with pytest.raises(AuthenticationError, match=r"keys offered: \S*stranger\. "):
                reach(inventory)
            config.write_text(config.read_text().replace("IdentitiesOnly yes", "IdentitiesOnly no"))
            assert reach(inventory) == "in"

    def test_an_agent_that_is_not_there_is_named(self, board: Board, tmp_path: Path) -> None:
        inventory = board.inventory(tmp_path)
        without_key(inventory)
        use(inventory, f"IdentityFile {tmp_path}/missing", f"IdentityAgent {tmp_path}/nobody.sock")
        with pytest.raises(AuthenticationError, match=r"ssh-agent at \S+nobody\.sock does not answer"):
            reach(inventory)


@pytest.fixture
def door(board: Board, tmp_path: Path) -> Iterator[Callable[..., tuple[LoginServer, Inventory]]]:
    """Make servers that want what a test says, and an inventory that leads to them."""
    servers: list[LoginServer] = []

    def make(*more: str, methods: str = "password", first_key: bool = False) -> tuple[LoginServer, Inventory]:
        server = LoginServer(methods, first_key=first_key)
        servers.append(server)
        inventory = board.inventory(tmp_path)
        server.write_ssh_config(tmp_path / "ssh_config", board.identity, *more)
        inventory.known_hosts.write_text(server.known_hosts_line())
        return server, inventory

    yield make
    for server in servers:
        server.close()


Door = Callable[..., tuple[LoginServer, Inventory]]


class TestPasswords:
    @pytest.mark.parametrize("methods", ["password", "keyboard-interactive", "publickey,password"])
    def test_a_person_is_asked_until_the_answer_fits_and_then_no_more(
        self, methods: str, door: Door, sit_down: Callable[..., Person]
    ) -> None:
        server, inventory = door(methods=methods)
        person = sit_down("wrong", server.secret)
        assert (reach(inventory), reach(inventory)) == ("in", "in")
        assert [word for word in server.tried if word != "key"] == ["wrong", server.secret, server.secret]
        assert len(person.heard) == 2
        assert all(question.isprintable() for question in person.heard)

    def test_a_password_after_the_key_is_given_too(self, door: Door, sit_down: Callable[..., Person]) -> None:
        server, inventory = door(first_key=True)
        sit_down(server.secret)
        assert reach(inventory) == "in"
        assert server.tried == ["key", server.secret]

    def test_without_a_person_what_is_wanted_is_said(self, door: Door) -> None:
        _, inventory = door(first_key=True)
        with pytest.raises(AuthenticationError, match="wants password after the key"):
            reach(inventory)

    def test_a_password_that_the_configuration_forbids_is_not_asked_for(
        self, door: Door, sit_down: Callable[..., Person]
    ) -> None:
        server, inventory = door("PasswordAuthentication no")
        person = sit_down(server.secret)
        with pytest.raises(AuthenticationError):
            reach(inventory)
        assert person.heard == []

    def test_no_answer_stands_in_an_error(self, door: Door, sit_down: Callable[..., Person]) -> None:
        _, inventory = door()
        sit_down("hunter2", "hunter3", "hunter4")
        with pytest.raises(AuthenticationError, match="nor what was typed") as caught:
            reach(inventory)
        assert "hunter" not in str(caught.value)
