"""Logging in: with the user's keys, those of files and those that an ssh-agent holds, and what only a person knows."""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from edgepress.errors import AuthenticationError
from edgepress.transport.base import printable
from edgepress.transport.secrets import ATTEMPTS, SECRETS
from edgepress.transport.ssh_options import SshOptions

AGENT_TIMEOUT_S = 20.0  # an agent may ask for a touch or a confirmation
EXCHANGE_TIMEOUT_S = 30.0  # one request to log in and its answer
PERSON_TIMEOUT_S = 120.0  # as OpenSSH's LoginGraceTime
MOST_STEPS = 10  # a server that never has enough is given up

_OPENSSH_KEY = b"openssh-key-v1\0"
_UNREADABLE = (
    OSError,
    ValueError,
    UnsupportedAlgorithm,
    paramiko.SSHException,
    paramiko.pkey.UnknownKeyType,
)
Guard = Callable[[float], AbstractContextManager[None]]  # ends the connection when a block takes longer than seconds


@dataclass
class _Keys:
    """What can be offered, in order, and why the rest cannot."""

    usable: list[tuple[str, paramiko.PKey]] = field(default_factory=list)
    encrypted: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    agent: str | None = None  # why the ssh-agent gave none


def authenticate(connection: paramiko.Transport, options: SshOptions, who: str, device: str, guard: Guard) -> None:
    """Log in: by keys, then with passphrases and passwords where a person can be asked for them.

    Args:
        who: the machine in the words of error messages.
        device: the device that is to be reached by it.
        guard: watches over each exchange.

    Raises:
        AuthenticationError: nothing was accepted. Says which keys were offered, and which could not be and why.
    """
    agent = _Agent(options.agent_socket)
    try:
        keys = _collect(options, agent)
        _Login(connection, options, who, device, guard, keys).run()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise AuthenticationError(f"logging in to {who} failed: {error}", device) from error
    finally:
        agent.close()


class _Login:
    def __init__(
        self,
        connection: paramiko.Transport,
        options: SshOptions,
        who: str,
        device: str,
        guard: Guard,
        keys: _Keys,
    ) -> None:
        self._connection = connection
        self._options = options
        self._who = who
        self._device = device
        self._guard = guard
        self._keys = keys
        self._asks = options.may_ask and SECRETS.can_ask
        self._offered: list[str] = []
        self._typed = False

    def run(self) -> None:
        allowed: Sequence[str] = self._options.methods
        if self._asks:
            allowed = self._ask_what_is_allowed()
        done: set[str] = set()
        for _ in range(MOST_STEPS):
            method = next((each for each in self._options.methods if each in allowed and each not in done), None)
            if method is None:
                break
            done.add(method)
            further = self._by(method)
            if further is not None:
                allowed, done = further, set()  # accepted, and what is wanted beside it: nothing at best
                if allowed and not (self._asks or "publickey" in allowed):
                    raise AuthenticationError(
                        f"{self._who} wants {' or '.join(map(printable, further))} after the key, which only a person "
                        "at a terminal can give",
                        self._device,
                    )
        if not self._connection.is_authenticated():
            raise self._refused()

    def _ask_what_is_allowed(self) -> Sequence[str]:
        """Return the methods that the server takes: a person is not asked for a password that nobody wants."""
        try:
            with self._guard(EXCHANGE_TIMEOUT_S):
                self._connection.auth_none(self._options.user)
        except paramiko.BadAuthenticationType as error:
            return tuple(map(str, error.allowed_types))
        return ()

    def _by(self, method: str) -> Sequence[str] | None:
        """Try a method; return what the server wants beside it when it was accepted, None when it was not."""
        if method == "publickey":
            return self._by_key()
        if not self._asks:
            return None
        return self._by_questions() if method == "keyboard-interactive" else self._by_password()

    def _by_key(self) -> Sequence[str] | None:
        for label, key in chain(self._keys.usable, self._opened_by_passphrase()):
            self._offered.append(label)
            try:
                with self._guard(EXCHANGE_TIMEOUT_S):
                    return list(self._connection.auth_publickey(self._options.user, key))
            except paramiko.AuthenticationException as error:
                if not self._connection.is_active():  # the server has had enough attempts
                    raise self._refused() from error
        return None

    def _opened_by_passphrase(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if not self._asks:
            return
        for file in tuple(self._keys.encrypted):
            key = _decrypted(file)
            if key is not None:
                self._keys.encrypted.remove(file)
                yield str(file), key

    def _by_password(self) -> Sequence[str] | None:
        question = f"password of {self._options}"
        for _ in range(ATTEMPTS):
            password = SECRETS.get(question)
            if not password:
                return None
            self._typed = True
            try:
                with self._guard(EXCHANGE_TIMEOUT_S):
                    return list(self._connection.auth_password(self._options.user, password, fallback=False))
            except paramiko.AuthenticationException as error:
                SECRETS.forget(question, password)
                if not self._connection.is_active():
                    raise self._refused() from error
        return None

    def _by_questions(self) -> Sequence[str] | None:
        for _ in range(ATTEMPTS):
            given: dict[str, str] = {}

            def answer(
                title: str, instructions: str, fields: list[tuple[str, bool]], given: dict[str, str] = given
            ) -> list[str]:
                del title, instructions
                answers = []
                for text, _ in fields:
                    question = f"{printable(text).strip().rstrip(':')} ({self._options})"
                    given[question] = SECRETS.get(question) or ""
                    answers.append(given[question])
                return answers

            self._typed = True
            self._connection.auth_timeout = PERSON_TIMEOUT_S
            try:
                with self._guard(PERSON_TIMEOUT_S):
                    return list(self._connection.auth_interactive(self._options.user, answer))
            except paramiko.AuthenticationException as error:
                for question, wrong in given.items():
                    SECRETS.forget(question, wrong)
                if not self._connection.is_active():
                    raise self._refused() from error
                if not any(given.values()):
                    return None
        return None

    def _refused(self) -> AuthenticationError:
        keys = self._keys
        parts = [
            f"{self._who} accepted none of the keys offered: {', '.join(self._offered) or 'there was none to offer'}"
            + (", nor what was typed" if self._typed else "")
        ]
        if keys.encrypted:
            files = ", ".join(map(str, keys.encrypted))
            parts.append(
                f"{files}: protected by a passphrase, and no ssh-agent holds it; start one with `eval $(ssh-agent)` "
                f"and add the key with `ssh-add {keys.encrypted[0]}`"
            )
        if keys.unreadable:
            parts.append(f"could not be read as private keys: {', '.join(keys.unreadable)}")
        if keys.agent:
            parts.append(keys.agent)
        if not keys.encrypted:
            parts.append(
                f"bring your public key onto it with `ssh-copy-id`, until `ssh {self._options}` asks for nothing"
            )
        return AuthenticationError(". ".join(parts), self._device)


class _Agent(paramiko.agent.AgentSSH):  # type: ignore[misc]  # paramiko has no types
    """The ssh-agent at a socket. One that is not there, or does not answer, holds no keys; ``complaint`` says why."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.complaint: str | None = None
        if path is None:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(AGENT_TIMEOUT_S)
        try:
            connection.connect(str(path))
            self._connect(connection)
        except (OSError, paramiko.SSHException) as error:
            connection.close()
            self.complaint = f"the ssh-agent at {path} does not answer ({error})"

    def close(self) -> None:
        self._close()


def _collect(options: SshOptions, agent: _Agent) -> _Keys:
    held = {key.asbytes(): key for key in agent.get_keys()}
    keys = _Keys(agent=agent.complaint)
    for file in options.identity_files:
        public = _public_part(file)
        if public in held:
            keys.usable.append((f"{file} (ssh-agent)", held.pop(public)))
        elif file.is_file() and file.suffix != ".pub":
            _load(file, keys)
    if not options.identities_only:
        keys.usable += [(f"{key.comment or key.get_name()} (ssh-agent)", key) for key in held.values()]
    return keys


def _load(file: Path, keys: _Keys) -> None:
    try:
        keys.usable.append((str(file), paramiko.PKey.from_path(file)))
    except (TypeError, paramiko.PasswordRequiredException):  # cryptography's way to say that a passphrase is missing
        keys.encrypted.append(file)
    except _UNREADABLE as error:
        keys.unreadable.append(f"{file} ({type(error).__name__})")  # the error's own text may quote the file


def _decrypted(file: Path) -> paramiko.PKey | None:
    """Open a key with the passphrase that a person gives; None when the person gives none that fits."""
    question = f"passphrase of {file}"
    for _ in range(ATTEMPTS):
        passphrase = SECRETS.get(question)
        if not passphrase:
            return None
        try:
            return paramiko.PKey.from_path(file, passphrase.encode())
        except _UNREADABLE:
            SECRETS.forget(question, passphrase)
    return None


def _public_part(file: Path) -> bytes | None:
    """Return the public key of an identity: a .pub file, named or beside it, or what a private key says of itself."""
    for candidate in (file, file.with_name(f"{file.name}.pub")):
        try:
            text = candidate.read_text()
        except (OSError, UnicodeDecodeError):
            continue
        try:
            if candidate.suffix == ".pub":
                return base64.b64decode(text.split()[1], validate=True)
            public = _public_part_of_private(text)
        except (binascii.Error, ValueError, IndexError):
            continue
        if public is not None:
            return public
    return None


def _public_part_of_private(text: str) -> bytes | None:
    """Read the public key out of OpenSSH's own format, which keeps it readable when the rest is encrypted."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "-----BEGIN OPENSSH PRIVATE KEY-----":
        return None
    message = paramiko.Message(base64.b64decode("".join(lines[1:-1])))
    if message.get_bytes(len(_OPENSSH_KEY)) != _OPENSSH_KEY:
        return None
    for _ in ("cipher", "key derivation", "its options"):
        message.get_string()
    return bytes(message.get_string()) if message.get_int() == 1 else None
