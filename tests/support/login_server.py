"""An SSH server that lets people in by password or by questions: what an account of this machine cannot be used for."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import paramiko


@dataclass
class LoginServer:
    """Answers every command with "in". ``methods``: what it takes; ``tried``: what it was given.

    With both methods, separated by a comma, either is enough. A ``first_key`` is wanted before them.
    """

    methods: str = "password"
    secret: str = "open sesame"  # noqa: S105 - opens this server only
    first_key: bool = False
    tried: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def known_hosts_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def write_ssh_config(self, file: Path, identity: Path, *more: str) -> None:
        """Write a configuration whose ``board`` is this server."""
        lines = (
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {getpass.getuser()}",
            f"IdentityFile {identity}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {file.parent}/user_known_hosts",
            "GlobalKnownHostsFile none",
            *more,
        )
        file.write_text("Host board\n" + "".join(f"  {line}\n" for line in lines))

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                transport = paramiko.Transport(connection)
                transport.add_server_key(self.key)
                with suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=_Door(self))


class _Door(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    def __init__(self, server: LoginServer) -> None:
        self._server = server
        self._key_seen = not server.first_key

    def get_allowed_auths(self, username: str) -> str:
        return self._server.methods if self._key_seen else "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self._server.tried.append("key")
        if not self._server.first_key:
            return int(paramiko.AUTH_FAILED)
        self._key_seen = True
        return int(paramiko.AUTH_PARTIALLY_SUCCESSFUL)

    def check_auth_password(self, username: str, password: str) -> int:
        self._server.tried.append(password)
        return self._verdict("password", password)

    def check_auth_interactive(self, username: str, submethods: str) -> int | paramiko.InteractiveQuery:
        if "keyboard-interactive" not in self._server.methods:
            return paramiko.AUTH_FAILED
        return paramiko.InteractiveQuery("", "", ("One-time\x1b[31m code:", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self._server.tried += responses
        return self._verdict("keyboard-interactive", *responses)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        def answer() -> None:
            channel.recv(1)  # the end of the input: by then it is known here that the command has started
            channel.sendall(b"in")
            channel.send_exit_status(0)
            channel.close()

        Thread(target=answer, daemon=True).start()
        return True

    def _verdict(self, method: str, *given: str) -> int:
        fits = self._key_seen and method in self._server.methods.split(",") and given == (self._server.secret,)
        return int(paramiko.AUTH_SUCCESSFUL if fits else paramiko.AUTH_FAILED)
