"""Talking to a running QEMU: its machine protocol, QMP, over a Unix socket.

QEMU serves one client at a time, so that a conversation is kept as short as the thing it is about.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgepress.errors import EmulatorError

TIMEOUT_S = 60.0  # a snapshot of a gigabyte on a busy disk


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for ``path`` that is short enough for a socket's address (108 bytes), by its open folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Monitor:
    """A conversation with one QEMU; a context manager."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Connect.

        Raises:
            EmulatorError: nobody answers.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            with short_path(path) as name:
                self._socket.connect(name)
            self._stream = self._socket.makefile("rwb")
            self._read()  # its greeting
            self.execute("qmp_capabilities")
        except OSError as error:
            self._socket.close()
            raise EmulatorError(f"QEMU does not answer at {path}: {error.strerror or error}") from error

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command and return what it returns.

        Raises:
            EmulatorError: QEMU refused it, ended, or did not answer in time.
        """
        try:
            self._stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            self._stream.flush()
            answer = self._read()
            while "event" in answer:
                answer = self._read()
        except (OSError, ValueError) as error:
            raise EmulatorError(f"QEMU did not answer {command}: {error}") from error
        if "error" in answer:
            raise EmulatorError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}")
        return answer.get("return")

    def human(self, line: str) -> str:
        """Run a command of the monitor for people, and return its text: some things have no other."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise ConnectionResetError("it has ended")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError(f"expected an object, got {line[:80]!r}")
        return answer
