"""This machine as a device: the same agent as a subprocess, no SSH."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edgepress.errors import LinkLostError, TransportError
from edgepress.transport.base import Channel, Completed, StderrTail, Transport, describe_end

CLOSE_TIMEOUT_S = 5.0
END_GRACE_S = 1.0  # between the end of a command's output and its own end


class LocalTransport(Transport):
    """Runs commands on this machine, with ``environment`` added to this process's own."""

    def __init__(self, device: str = "local", environment: Mapping[str, str] | None = None) -> None:
        self._device = device
        self._environment = {**os.environ, **(environment or {})}
        self._channels: list[_PipeChannel] = []

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        try:
            done = subprocess.run(  # noqa: S603 - what the caller wants to run; no shell takes it apart
                list(argv), input=stdin, capture_output=True, timeout=timeout_s, env=self._environment, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise LinkLostError(f"{argv[0]} did not end within {timeout_s:g} s", self._device) from error
        except OSError as error:  # as a shell would answer
            return Completed(127, b"", str(error).encode())
        return Completed(done.returncode, done.stdout, done.stderr)

    def open(self, argv: Sequence[str]) -> Channel:
        try:
            process = subprocess.Popen(  # noqa: S603 - what the caller wants to run; no shell takes it apart
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the host, which then tells the agent what to cancel
            )
        except OSError as error:
            raise LinkLostError(f"{argv[0]} cannot be started: {error}", self._device) from error
        channel = _PipeChannel(process, self._device)
        self._channels.append(channel)
        return channel

    def put(self, source: Path | bytes, remote_path: str, timeout_s: float = 120.0) -> None:
        del timeout_s
        part = Path(f"{remote_path}.part")
        data = source if isinstance(source, bytes) else source.read_bytes()
        try:
            part.write_bytes(data)
            part.replace(remote_path)
        except OSError as error:
            raise TransportError(f"{remote_path} cannot be written: {error.strerror}", self._device) from error

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


class _PipeChannel(Channel):
    def __init__(self, process: subprocess.Popen[bytes], device: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._device = device
        self._stdin, self._stdout, self._stderr_stream = process.stdin, process.stdout, process.stderr
        self._stderr = StderrTail(lambda size: os.read(process.stderr.fileno(), size))  # type: ignore[union-attr]
        os.set_blocking(self._stdin.fileno(), False)

    def read(self, size: int, deadline: float) -> bytes:
        if self._stdout.closed:
            return b""
        self._wait(self._stdout.fileno(), select.POLLIN, deadline, "an answer")
        return os.read(self._stdout.fileno(), size)

    def write(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        try:
            while view:
                self._wait(self._stdin.fileno(), select.POLLOUT, deadline, "the agent to read")
                view = view[os.write(self._stdin.fileno(), view) :]
        except (BrokenPipeError, ValueError) as error:
            raise LinkLostError(
                f"the agent on {self._device} has ended ({self.last_words() or 'nothing known'})", self._device
            ) from error

    def last_words(self) -> str:
        stderr = self._stderr.text()
        with suppress(subprocess.TimeoutExpired):  # it closed its output, but goes on
            self._process.wait(END_GRACE_S)
        return describe_end(self._process.returncode, stderr)

    def close(self) -> None:
        if self._stdin.closed:
            return
        self._stdin.close()  # the agent ends when nobody speaks to it any more; its jobs go on
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.text()
        self._stdout.close()
        self._stderr_stream.close()

    def _wait(self, descriptor: int, event: int, deadline: float, what: str) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise LinkLostError(f"waited for {what} on {self._device} until the deadline passed", self._device)
