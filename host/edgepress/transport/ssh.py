"""Devices reached over SSH, with the user's own OpenSSH configuration, keys, agent and known hosts.

paramiko speaks the protocol. The socket is ours, because paramiko leaves Nagle's algorithm on, which makes each small
command ten times slower; and every wait is watched, because its own timeouts do not cover all of them.
"""

from __future__ import annotations

import io
import logging
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Self

import paramiko

from edgepress.errors import ChangedHostKeyError, LinkLostError, TransportError, UnknownHostKeyError, UnreachableError
from edgepress.transport.base import OUTPUT_LIMIT_BYTES, Channel, Completed, StderrTail, Transport, describe_end
from edgepress.transport.known_hosts import HostKey, KnownKeys, known_keys
from edgepress.transport.ssh_auth import authenticate
from edgepress.transport.ssh_options import SshOptions
from edgepress.transport.watchdog import Watchdog

CONNECT_TIMEOUT_S = 10.0  # for the TCP connection
LOGIN_TIMEOUT_S = 30.0  # for the handshake and the keys that follow
OPEN_TIMEOUT_S = 30.0  # until a command has started
END_GRACE_S = 1.0  # between the end of a command's output and its exit status
KEEPALIVE_S = 15
UNACKNOWLEDGED_TIMEOUT_S = 60  # when the kernel gives a silent peer up

_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
_HOST_KEY_ALGORITHMS = {  # by the type of key that known_hosts names
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
# Failures reach the caller as exceptions; without a handler Python would print paramiko's log to stderr as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class SshTransport(Transport):
    """A connection to a device over SSH. Build it with :meth:`connect`."""

    def __init__(self, connection: paramiko.Transport, watchdog: Watchdog, options: SshOptions, device: str) -> None:
        self._connection = connection
        self._watchdog = watchdog
        self._options = options
        self._device = device

    @classmethod
    def connect(cls, options: SshOptions, device: str, known_hosts: Sequence[Path] = ()) -> Self:
        """Connect, check the host key, log in.

        Args:
            options: where and as whom.
            device: the device's name, for error messages.
            known_hosts: files to believe beside those of ``options``.

        Raises:
            UnreachableError, UnknownHostKeyError, ChangedHostKeyError, AuthenticationError: in this order.
        """
        known = known_keys([*options.known_hosts, *known_hosts], options.host_key_name, options.port)
        connection, watchdog = _handshake(options, device, known)
        try:
            offered = connection.get_remote_server_key()
            _check_host_key(HostKey(offered.get_name(), offered.asbytes()), known, options, device)
            with watchdog.guard(time.monotonic() + LOGIN_TIMEOUT_S):
                authenticate(connection, options, device)
            connection.set_keepalive(KEEPALIVE_S)
        except BaseException:
            watchdog.close()
            connection.close()
            raise
        return cls(connection, watchdog, options, device)

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        deadline = time.monotonic() + timeout_s
        channel = self._start(argv, deadline)
        # The command may answer before it has read everything: written by a second thread, neither blocks the other.
        feeder = Thread(target=channel.feed, args=(stdin, deadline), name="edgepress-stdin", daemon=True)
        feeder.start()
        try:
            stdout = bytearray()
            while piece := channel.read(1 << 16, deadline):
                stdout += piece
                if len(stdout) > OUTPUT_LIMIT_BYTES:
                    raise LinkLostError(f"{argv[0]} on {self._device} answers without end", self._device)
            returncode, stderr = channel.end(deadline)
        finally:
            channel.close()
        return Completed(returncode, bytes(stdout), stderr.encode())

    def open(self, argv: Sequence[str]) -> Channel:
        return self._start(argv, time.monotonic() + OPEN_TIMEOUT_S)

    def put(self, source: Path | bytes, remote_path: str, timeout_s: float = 120.0) -> None:
        data = source if isinstance(source, bytes) else source.read_bytes()
        part = f"{remote_path}.part"
        refused: OSError | None = None
        with (
            self.waiting(time.monotonic() + timeout_s, f"writing {remote_path}"),
            paramiko.SFTPClient.from_transport(self._connection) as sftp,
        ):
            try:
                sftp.putfo(io.BytesIO(data), part)  # compares the size at the end
                sftp.posix_rename(part, remote_path)
            except OSError as error:
                if not self._connection.is_active():
                    raise
                refused = error
                with suppress(OSError):  # half a file must not keep a full disk full
                    sftp.remove(part)
        if refused is not None:
            raise TransportError(
                f"{remote_path} cannot be written on {self._device} ({self._options}): {refused}. Is its disk full, "
                "or not writable?",
                self._device,
            ) from refused

    def close(self) -> None:
        self._watchdog.close()
        self._connection.close()

    def _start(self, argv: Sequence[str], deadline: float) -> _SshChannel:
        with self.waiting(deadline, f"starting {argv[0]}"):
            channel = self._connection.open_session()
            channel.exec_command(shlex.join(argv))  # SSH takes one string, which the user's shell splits again
        return _SshChannel(channel, self)

    @contextmanager
    def waiting(self, deadline: float, doing: str) -> Iterator[None]:
        """Guard a wait on the connection, and say in edgepress's words how it failed."""
        try:
            with self._watchdog.guard(deadline):
                yield
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(doing, error) from error
        if self._watchdog.barked:
            raise self._lost(doing, None)

    def _lost(self, doing: str, error: BaseException | None) -> LinkLostError:
        why = "no answer in time" if self._watchdog.barked else f"{error or 'the connection ended'}"
        return LinkLostError(
            f"lost {self._device} ({self._options}) while {doing}: {why}. Jobs on the device go on; "
            f"the next run, or `edgepress device check {self._device}`, finds them",
            self._device,
        )


class _SshChannel(Channel):
    def __init__(self, channel: paramiko.Channel, transport: SshTransport) -> None:
        self._channel = channel
        self._transport = transport
        self._stderr = StderrTail(channel.recv_stderr)

    def read(self, size: int, deadline: float) -> bytes:
        with self._transport.waiting(deadline, "waiting for an answer"):
            return bytes(self._channel.recv(size))

    def write(self, data: bytes, deadline: float) -> None:
        with self._transport.waiting(deadline, "sending"):
            self._channel.sendall(data)

    def feed(self, data: bytes, deadline: float) -> None:
        with suppress(LinkLostError, OSError, EOFError):  # a command may end unread; the reader sees a lost link
            self.write(data, deadline)
            self._channel.shutdown_write()

    def end(self, deadline: float) -> tuple[int, str]:
        with self._transport.waiting(deadline, "waiting for a command to end"):
            return self._channel.recv_exit_status(), self._stderr.text()

    def last_words(self) -> str:
        stderr = self._stderr.text()
        ended = self._channel.status_event.wait(END_GRACE_S)
        returncode = self._channel.recv_exit_status() if ended else None
        return describe_end(returncode, stderr)

    def close(self) -> None:
        # Closing says goodbye over the link. On a dead one nobody is left to hear it, and nothing is left to do.
        with suppress(LinkLostError), self._transport.waiting(time.monotonic() + END_GRACE_S, "closing a channel"):
            self._channel.close()


def fetch_host_key(options: SshOptions, device: str, known_hosts: Sequence[Path] = ()) -> HostKey:
    """Return the key that a server shows, without logging in. Where a key is already known, one of its type.

    Raises:
        UnreachableError: no SSH server answers there.
    """
    known = known_keys([*options.known_hosts, *known_hosts], options.host_key_name, options.port)
    connection, watchdog = _handshake(options, device, known)
    try:
        key = connection.get_remote_server_key()
        return HostKey(key.get_name(), key.asbytes())
    finally:
        watchdog.close()
        connection.close()


def _handshake(options: SshOptions, device: str, known: KnownKeys) -> tuple[paramiko.Transport, Watchdog]:
    sock = _connect_socket(options, device)
    connection = paramiko.Transport(sock)
    watchdog = Watchdog(connection.close)
    try:
        security = connection.get_security_options()
        security.ciphers = _CIPHERS
        security.key_types = _host_key_algorithms(known, security.key_types)
        with watchdog.guard(time.monotonic() + LOGIN_TIMEOUT_S):
            connection.start_client(timeout=LOGIN_TIMEOUT_S)
            connection.get_remote_server_key()  # raises when the time was up before the handshake was done
    except (OSError, EOFError, paramiko.SSHException) as error:
        watchdog.close()
        connection.close()
        raise UnreachableError(
            f"{device} ({options}): something answers there, but no SSH server that edgepress can talk to ({error})",
            device,
        ) from error
    return connection, watchdog


def _connect_socket(options: SshOptions, device: str) -> socket.socket:
    try:
        sock = socket.create_connection((options.host, options.port), timeout=CONNECT_TIMEOUT_S)
    except OSError as error:
        raise UnreachableError(
            f"{device} ({options}) cannot be reached: {error}. Is it switched on and in this network, and does "
            f"`ssh {options}` work?",
            device,
        ) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(
        socket, "TCP_USER_TIMEOUT"
    ):  # Linux: without it a send to a peer that is gone waits a quarter of an hour
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_TIMEOUT_S * 1000)
    return sock


def _host_key_algorithms(known: KnownKeys, supported: Sequence[str]) -> tuple[str, ...]:
    """Ask for a key of a type that is known first, as OpenSSH does; else a board's other key would look changed."""
    preferred = [name for key in known.accepted for name in _HOST_KEY_ALGORITHMS.get(key.key_type, ())]
    return tuple(dict.fromkeys([*preferred, *supported]))


def _check_host_key(offered: HostKey, known: KnownKeys, options: SshOptions, device: str) -> None:
    if offered in known.revoked:
        raise ChangedHostKeyError(
            f"{device} ({options}) shows the host key {offered.fingerprint}, which your known_hosts marks as revoked",
            device,
        )
    if offered in known.accepted:
        return
    if known.accepted:
        accepted = ", ".join(key.fingerprint for key in known.accepted)
        raise ChangedHostKeyError(
            f"{device} ({options}) shows the host key {offered.fingerprint}, but you accepted {accepted}: another "
            "machine may be answering in its place. If the board was set up anew, remove the old line "
            f"({options.host_key_name}) from known_hosts, then run `edgepress device trust {device}`",
            device,
        )
    raise UnknownHostKeyError(
        f"nobody has accepted the host key of {device} ({options}) yet: {offered.key_type} {offered.fingerprint}. "
        f"Compare it with `ssh-keygen -lf /etc/ssh/ssh_host_{_file_word(offered.key_type)}_key.pub` on the board, "
        f"then run `edgepress device trust {device}`",
        device,
        offered.fingerprint,
    )


def _file_word(key_type: str) -> str:
    return key_type.removeprefix("ssh-").split("-")[0]
