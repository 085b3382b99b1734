"""A TCP proxy in a process of its own that counts, delays and cuts: what benchmarks of the transfer look through.

    python benchmarks/counting_proxy.py PORT [--delay-ms 10]

It forwards connections on a free port of this machine, which it prints, to PORT of this machine. Each piece is passed
on after the delay, in both directions, so that a round trip takes twice that longer. On its standard input it takes one
word a line: ``count`` prints the bytes that have gone to the server, ``cut N`` breaks all connections once N more have.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

PIECE_BYTES = 1 << 18
HELD_BYTES = 16 << 20  # by one direction, at most: more than any window of SSH


class Proxy:
    """The proxy as a process; a context manager. ``port``: where it listens."""

    def __init__(self, target_port: int, delay_ms: float = 0.0) -> None:
        argv = [sys.executable, str(Path(__file__)), str(target_port), "--delay-ms", str(delay_ms)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._read())

    def sent_bytes(self) -> int:
        """Return how many bytes have gone to the server since the start."""
        self._write("count")
        return int(self._read())

    def cut_after(self, sent_bytes: int) -> None:
        """Break all connections once so many more bytes have gone to the server."""
        self._write(f"cut {sent_bytes}")
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class _Forwarder:
    def __init__(self, target_port: int, delay_s: float) -> None:
        self._target_port = target_port
        self._delay_s = delay_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.sent_bytes = 0
        self.cut_at: int | None = None
        self._connections: list[socket.socket] = []

    def run(self) -> None:
        while True:
            client, _ = self._server.accept()
            server = socket.create_connection(("127.0.0.1", self._target_port))
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections += [client, server]
            self._pipe(client, server, counted=True)
            self._pipe(server, client, counted=False)

    def _pipe(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        if not self._delay_s:
            threading.Thread(target=self._forward, args=(source, sink, counted), daemon=True).start()
            return
        held: deque[tuple[float, bytes]] = deque()
        changed = threading.Condition()
        threading.Thread(target=self._take, args=(source, held, changed), daemon=True).start()
        threading.Thread(target=self._give, args=(sink, held, changed, counted), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._pass(piece, sink, counted)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _take(self, source: socket.socket, held: deque[tuple[float, bytes]], changed: threading.Condition) -> None:
        while True:
            try:
                piece = source.recv(PIECE_BYTES)
            except OSError:
                piece = b""
            with changed:
                changed.wait_for(lambda: sum(len(each) for _, each in held) < HELD_BYTES)
                held.append((time.monotonic() + self._delay_s, piece))
                changed.notify_all()
            if not piece:
                return

    def _give(
        self, sink: socket.socket, held: deque[tuple[float, bytes]], changed: threading.Condition, counted: bool
    ) -> None:
        while True:
            with changed:
                changed.wait_for(lambda: bool(held))
                due, piece = held[0]
            time.sleep(max(0.0, due - time.monotonic()))
            with suppress(OSError):
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                else:
                    self._pass(piece, sink, counted)
            with changed:
                held.popleft()
                changed.notify_all()
            if not piece:
                return

    def _pass(self, piece: bytes, sink: socket.socket, counted: bool) -> None:
        if counted and self.cut_at is not None and self.sent_bytes + len(piece) >= self.cut_at:
            piece = piece[: max(0, self.cut_at - self.sent_bytes)]
            sink.sendall(piece)
            self.sent_bytes += len(piece)
            self._cut()
            return
        sink.sendall(piece)
        if counted:
            self.sent_bytes += len(piece)

    def _cut(self) -> None:
        self.cut_at = None
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections = []


def main() -> None:
    """Forward until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    options = parser.parse_args()
    forwarder = _Forwarder(options.port, options.delay_ms / 1e3)
    print(forwarder.port, flush=True)
    threading.Thread(target=forwarder.run, daemon=True).start()
    for line in sys.stdin:
        match line.split():
            case ["count"]:
                print(forwarder.sent_bytes, flush=True)
            case ["cut", number]:
                forwarder.cut_at = forwarder.sent_bytes + int(number)
                print("ok", flush=True)


if __name__ == "__main__":
    main()
