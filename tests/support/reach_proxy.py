"""A link that can break: a TCP proxy on this machine whose connections can be cut or stalled."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class LinkProxy:
    """Forwards connections to a port of this machine.

    Attributes:
        port: where it listens.
        sent_bytes: bytes that went from clients to the server, over all connections.
    """

    def __init__(self, target_port: int, cut_after_sent_bytes: int | None = None) -> None:
        self._target_port = target_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.sent_bytes = 0
        self._cut_after = cut_after_sent_bytes
        self._flowing = threading.Event()
        self._flowing.set()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, sent_bytes: int | None) -> None:
        """Cut every connection once so many more bytes were sent to the server; None: never."""
        self._cut_after = None if sent_bytes is None else self.sent_bytes + sent_bytes

    def cut(self) -> None:
        """Break all connections. New ones are taken."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections = []

    def stall(self) -> None:
        """Forward nothing more, without closing anything."""
        self._flowing.clear()

    def close(self) -> None:
        """Break all connections and take no more."""
        self._server.close()
        self._flowing.set()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                return
            self._connections += [client, server]
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 14):
                self._flowing.wait()
                sink.sendall(piece)
                if counted:
                    self.sent_bytes += len(piece)
                    if self._cut_after is not None and self.sent_bytes >= self._cut_after:
                        self._cut_after = None
                        self.cut()
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
