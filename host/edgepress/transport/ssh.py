"""Devices reached over SSH, with the user's own OpenSSH configuration, keys, agent and known hosts."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Self

import paramiko

from edgepress.errors import LinkLostError, TransportError
from edgepress.transport.base import OUTPUT_LIMIT_BYTES, Channel, Completed, StderrTail, Transport, describe_end
from edgepress.transport.ssh_link import Link
from edgepress.transport.ssh_options import SshOptions

OPEN_TIMEOUT_S = 30.0  # until a command has started
END_GRACE_S = 1.0  # between the end of a command's output and its exit status
PACKET_BYTES = 1 << 15  # the most that OpenSSH takes in one


class SshTransport(Transport):
    """A connection to a device over SSH. Build it with :meth:`connect`.

    The session for the next command is opened while a command runs, so that it costs one round trip and not two.
    """

    def __init__(self, link: Link, options: SshOptions, device: str) -> None:
        self._link = link
        self._options = options
        self._device = device
        self._next: Future[paramiko.Channel | None] | None = None
        self._taking = Lock()

    @classmethod
    def connect(cls, options: SshOptions, device: str, known_hosts: Sequence[Path] = ()) -> Self:
        """Connect, check the host keys, log in.

        Args, errors: as :meth:`Link.make`.
        """
        return cls(Link.make(options, device, known_hosts), options, device)

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
        with self.waiting(time.monotonic() + timeout_s, f"writing {remote_path}"), self._sftp() as sftp:
            try:
                sftp.putfo(io.BytesIO(data), part)  # compares the size at the end
                sftp.posix_rename(part, remote_path)
            except OSError as error:
                if not self._link.connection.is_active():
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
        self._link.close()

    def _start(self, argv: Sequence[str], deadline: float) -> _SshChannel:
        with self.waiting(deadline, f"starting {argv[0]}"):
            channel = self._session()
            channel.exec_command(shlex.join(argv))  # SSH takes one string, which a shell splits again  # nosec B601
        return _SshChannel(channel, self)

    def _sftp(self) -> paramiko.SFTPClient:
        channel = self._session()
        channel.invoke_subsystem("sftp")
        return paramiko.SFTPClient(channel)

    def _session(self) -> paramiko.Channel:
        """Return a session, the one that was opened for it if there is one, and begin to open the next."""
        with self._taking:
            ahead, self._next = self._next, None
        session = ahead and ahead.result()  # until the watchdog ends the wait with the connection
        session = session or self._link.connection.open_session()
        with self._taking:
            if self._next is None:
                self._next = Future()
                Thread(target=self._open_ahead, args=[self._next], name="edgepress-session", daemon=True).start()
        return session

    def _open_ahead(self, future: Future[paramiko.Channel | None]) -> None:
        try:
            future.set_result(self._link.connection.open_session())
        except (OSError, EOFError, paramiko.SSHException):  # the connection ended, or the server allows no more at once
            future.set_result(None)

    @contextmanager
    def waiting(self, deadline: float, doing: str) -> Iterator[None]:
        """Guard a wait on the connection, and say in edgepress's words how it failed."""
        try:
            with self._link.watchdog.guard(deadline):
                yield
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost(doing, error) from error
        if self._link.watchdog.barked:
            raise self._lost(doing, None)

    def _lost(self, doing: str, error: BaseException | None) -> LinkLostError:
        why = "no answer in time" if self._link.watchdog.barked else f"{error or 'the connection ended'}"
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
        view = memoryview(data)  # `sendall` would copy all that is left for each packet
        with self._transport.waiting(deadline, "sending"):
            while view:
                view = view[self._channel.send(bytes(view[:PACKET_BYTES])) :]

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
