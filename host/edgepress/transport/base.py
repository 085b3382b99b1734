"""The smallest interface to a machine that can run commands: what a new transport has to provide.

Deadlines are values of ``time.monotonic()``. No wait is without one: a link that stalls without breaking is how
phones, mobile routers and power-saving boards fail.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

STDERR_TAIL_BYTES = 4096
OUTPUT_LIMIT_BYTES = 16 << 20  # of a command's output; more is not an answer but an accident


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``returncode`` is negative when a signal ended it; ``stderr`` may be its end only."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Channel(ABC):
    """A command that is running on the device: its standard input and output as one duplex stream of bytes."""

    @abstractmethod
    def read(self, size: int, deadline: float) -> bytes:
        """Return 1 to ``size`` bytes, or b"" when the far side has closed its output.

        Raises:
            LinkLostError: the deadline passed. The channel cannot be used after it.
        """

    @abstractmethod
    def write(self, data: bytes, deadline: float) -> None:
        """Write all of ``data``.

        Raises:
            LinkLostError: the deadline passed, or the far side no longer reads.
        """

    @abstractmethod
    def last_words(self) -> str:
        """Say what is known of a far side that ended: exit status and the end of its standard error ("" if nothing)."""

    @abstractmethod
    def close(self) -> None:
        """End the command's input and release the channel. May be called twice."""


class Transport(ABC):
    """A connection to one device. A context manager that closes itself."""

    @abstractmethod
    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Run a command to its end, whatever its return code.

        Raises:
            LinkLostError: it did not end in time, or the connection broke.
        """

    @abstractmethod
    def open(self, argv: Sequence[str]) -> Channel:
        """Start a command and return its input and output."""

    @abstractmethod
    def put(self, source: Path | bytes, remote_path: str, timeout_s: float = 120.0) -> None:
        """Write a file whose directory exists. A reader of ``remote_path`` sees the old content or all of the new.

        Raises:
            TransportError: the device does not let it be written, or has no room.
            LinkLostError: the connection broke.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the connection and everything opened over it. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class StderrTail:
    """Drains a command's standard error in the background, so that it never blocks, and keeps its end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._pieces: deque[bytes] = deque()
        self._kept_bytes = 0
        self._thread = Thread(target=self._drain, name="edgepress-stderr", daemon=True)
        self._thread.start()

    def text(self, wait_s: float = 1.0) -> str:
        """Return the last few KB, with control characters made harmless; waits a moment for the stream to end."""
        self._thread.join(wait_s)
        tail = b"".join(self._pieces)[-STDERR_TAIL_BYTES:]
        return printable(tail.decode(errors="replace")).strip()

    def _drain(self) -> None:
        while True:
            try:
                piece = self._read(65536)
            except OSError:  # closed under us
                return
            if not piece:
                return
            self._pieces.append(piece)
            self._kept_bytes += len(piece)
            while self._kept_bytes - len(self._pieces[0]) >= STDERR_TAIL_BYTES:
                self._kept_bytes -= len(self._pieces.popleft())


def printable(text: str) -> str:
    """Make text from a device fit for a terminal: no escape sequences, no control characters but newline and tab."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def describe_end(returncode: int | None, stderr: str) -> str:
    """Put an exit status and a standard error into a phrase for an error message."""
    parts = []
    if returncode is not None:
        parts.append(f"exit status {returncode}")
    if stderr:
        parts.append(f"it said: {stderr}")
    return "; ".join(parts)
