"""The way to a machine: one SSH connection, or a chain of them through jump hosts, each checked and logged in to.

paramiko speaks the protocol. The sockets are ours, because paramiko leaves Nagle's algorithm on, which makes each small
command ten times slower; and every wait is watched, because its own timeouts do not cover all of them.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import paramiko

from edgepress.errors import AuthenticationError, ChangedHostKeyError, UnknownHostKeyError, UnreachableError
from edgepress.transport.base import StderrTail, printable
from edgepress.transport.known_hosts import HostKey, KnownKeys, known_keys
from edgepress.transport.ssh_auth import authenticate
from edgepress.transport.ssh_options import OfferedKey, SshOptions
from edgepress.transport.watchdog import Watchdog

CONNECT_TIMEOUT_S = 10.0  # for the TCP connection, or a jump host's
HANDSHAKE_TIMEOUT_S = 30.0
KEEPALIVE_S = 15
UNACKNOWLEDGED_TIMEOUT_S = 60  # when the kernel gives a silent peer up
PROXY_GRACE_S = 1.0  # for a proxy command to end after its connection

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


class Link:
    """Connections to the machines of a route, each through the one before, and a watchdog over all of them."""

    def __init__(self) -> None:
        self._connections: list[paramiko.Transport] = []
        self._proxy: _Proxy | None = None
        self.watchdog = Watchdog(self._cut)

    @classmethod
    def make(cls, options: SshOptions, device: str, known_hosts: Sequence[Path] = ()) -> Link:
        """Connect to a machine through all that stand before it; check each one's host key before logging in to it.

        Args:
            options: where and as whom.
            device: the device's name, for error messages.
            known_hosts: files to believe beside those of ``options``.

        Raises:
            UnreachableError, UnknownHostKeyError, ChangedHostKeyError, AuthenticationError: for each in this order.
        """
        link = cls()
        try:
            for hop in options.route:
                step = _Step(link, hop, options, device, known_hosts)
                step.check(step.shake_hands())
                step.log_in()
            link.connection.set_keepalive(KEEPALIVE_S)
        except BaseException:
            link.close()
            raise
        return link

    @property
    def connection(self) -> paramiko.Transport:
        """The connection to the last machine reached."""
        return self._connections[-1]

    def guard(self, seconds: float) -> AbstractContextManager[None]:
        """Cut the link when a block takes longer."""
        return self.watchdog.guard(time.monotonic() + seconds)

    def add(self, connection: paramiko.Transport) -> None:
        """Lengthen the link by a connection through the one before."""
        self._connections.append(connection)

    def start_proxy(self, argv: Sequence[str]) -> socket.socket:
        """Start the program through which the first machine is reached, and return a socket to it.

        Raises:
            OSError: it cannot be started.
        """
        self._proxy = _Proxy(argv)
        return self._proxy.socket

    def proxy_said(self) -> str:
        """Say what that program wrote on its standard error ("" if nothing, or if there is none)."""
        return self._proxy.stderr.text() if self._proxy else ""

    def close(self) -> None:
        """Release everything. May be called twice."""
        self.watchdog.close()
        self._cut()
        if self._proxy is not None:
            self._proxy.end()

    def _cut(self) -> None:
        # From the outside in: an inner connection's goodbye would wait for the one that carries it.
        if self._proxy is not None:
            self._proxy.socket.close()
        for connection in self._connections:
            connection.close()


class _Proxy:
    """A program whose standard input and output are one end of a socket pair; ours is the other."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - the ProxyCommand of the user's own ssh config
                    argv,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    start_new_session=True,
                )
        except BaseException:
            self.socket.close()
            raise
        stderr = self._process.stderr
        assert stderr is not None
        self._stderr_stream = stderr
        self.stderr = StderrTail(lambda size: os.read(stderr.fileno(), size))

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PROXY_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.stderr.text()
        self._stderr_stream.close()


class _Step:
    """From what a link has reached to one machine further."""

    def __init__(self, link: Link, hop: SshOptions, goal: SshOptions, device: str, known_hosts: Sequence[Path]) -> None:
        self._link = link
        self._hop = hop
        self._device = device
        self._known = known_keys([*hop.known_hosts, *known_hosts], hop.host_key_name)
        self._who = f"{device} ({hop})" if hop is goal else f"the jump host {hop} on the way to {device}"

    def log_in(self) -> None:
        """Log in to a machine whose key was checked."""
        try:
            authenticate(self._link.connection, self._hop, self._who, self._device, self._link.guard)
        except AuthenticationError as error:
            if self._link.watchdog.barked:
                raise UnreachableError(f"{self._who} gave no answer in time to a login", self._device) from error
            raise

    def shake_hands(self) -> HostKey:
        """Connect, and return the host key that is shown."""
        connection = paramiko.Transport(self._reach())
        connection.banner_timeout = connection.handshake_timeout = HANDSHAKE_TIMEOUT_S
        self._link.add(connection)
        security = connection.get_security_options()
        security.ciphers = _CIPHERS
        security.key_types = _host_key_algorithms(self._known, security.key_types)
        try:
            with self._link.guard(HANDSHAKE_TIMEOUT_S):
                connection.start_client(timeout=HANDSHAKE_TIMEOUT_S)
                key = connection.get_remote_server_key()  # raises when the time was up before the handshake was done
        except (OSError, EOFError, paramiko.SSHException) as error:
            said = self._link.proxy_said()
            raise UnreachableError(
                f"{self._who}: something answers there, but no SSH server that edgepress can talk to "
                f"({error}{f'; its ProxyCommand said: {said}' if said else ''})",
                self._device,
            ) from error
        return HostKey(key.get_name(), key.asbytes())

    def check(self, offered: HostKey) -> None:
        """Make sure that somebody has accepted the key.

        Raises:
            ChangedHostKeyError: another one was accepted, or this one is revoked. UnknownHostKeyError: nobody has.
        """
        if offered in self._known.revoked:
            raise ChangedHostKeyError(
                f"{self._who} shows the host key {offered.fingerprint}, which your known_hosts marks as revoked",
                self._device,
            )
        if offered in self._known.accepted:
            return
        if self._known.accepted:
            accepted = ", ".join(key.fingerprint for key in self._known.accepted)
            raise ChangedHostKeyError(
                f"{self._who} shows the host key {offered.fingerprint}, but you accepted {accepted}: another "
                "machine may be answering in its place. If it was set up anew, remove the old line "
                f"({self._hop.host_key_name}) from known_hosts, then run `edgepress device trust {self._device}`",
                self._device,
            )
        raise UnknownHostKeyError(
            f"nobody has accepted the host key of {self._who} yet: {offered.key_type} {offered.fingerprint}. "
            f"Compare it with `ssh-keygen -lf /etc/ssh/ssh_host_{_file_word(offered.key_type)}_key.pub` there, "
            f"then run `edgepress device trust {self._device}`",
            self._device,
            offered.fingerprint,
        )

    def _reach(self) -> Any:  # what paramiko takes for a socket
        if self._hop.via is not None:
            return self._through_jump_host(self._hop.via)
        if self._hop.proxy_command:
            try:
                return self._link.start_proxy(self._hop.proxy_command)
            except OSError as error:
                raise UnreachableError(
                    f"{self._who} cannot be reached: the ProxyCommand {self._hop.proxy_command[0]} of your ssh config "
                    f"cannot be started ({error.strerror})",
                    self._device,
                ) from error
        return self._direct()

    def _through_jump_host(self, via: SshOptions) -> paramiko.Channel:
        try:
            with self._link.guard(2 * CONNECT_TIMEOUT_S):
                return self._link.connection.open_channel(
                    "direct-tcpip", (self._hop.host, self._hop.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
                )
        except paramiko.ChannelException as error:
            raise UnreachableError(
                f"{self._who} cannot be reached from the jump host {via}: {printable(str(error.text))}", self._device
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise UnreachableError(
                f"{self._who} cannot be reached from the jump host {via} within {CONNECT_TIMEOUT_S:g} s ({error})",
                self._device,
            ) from error

    def _direct(self) -> socket.socket:
        try:
            sock = socket.create_connection((self._hop.host, self._hop.port), timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            raise UnreachableError(
                f"{self._who} cannot be reached: {error}. Is it switched on and in this network, and does "
                f"`ssh {self._hop}` work?",
                self._device,
            ) from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: else a send to a peer that is gone waits a quarter of an hour
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_TIMEOUT_S * 1000)
        return sock


def offered_key(options: SshOptions, device: str, known_hosts: Sequence[Path] = ()) -> OfferedKey:
    """Return the first host key on the way to a device that nobody has accepted; when all are, the device's own.

    Jump hosts whose keys are accepted are logged in to, the device is not.

    Raises:
        UnreachableError: no SSH server answers there. ChangedHostKeyError, AuthenticationError: of a jump host.
    """
    link = Link()
    try:
        for hop in options.route:
            step = _Step(link, hop, options, device, known_hosts)
            offered = OfferedKey(hop, step.shake_hands(), hop is options)
            if offered.is_device:
                break
            try:
                step.check(offered.key)
            except UnknownHostKeyError:
                break
            step.log_in()
        return offered
    finally:
        link.close()


def _host_key_algorithms(known: KnownKeys, supported: Sequence[str]) -> tuple[str, ...]:
    """Ask for a key of a type that is known first, as OpenSSH does; else a board's other key would look changed."""
    preferred = [name for key in known.accepted for name in _HOST_KEY_ALGORITHMS.get(key.key_type, ())]
    return tuple(dict.fromkeys([*preferred, *supported]))


def _file_word(key_type: str) -> str:
    return key_type.removeprefix("ssh-").split("-")[0]
