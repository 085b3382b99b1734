"""A device made of functions, for tests: edgepress's own and those of programs that use it.

::

    agent = ScriptedAgent({"hello": lambda params, blob: Answer(some_hello)})
    transport = FakeTransport(agent)
    client = AgentClient(transport.open(["agent"]), "pi4")
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepress.errors import LinkLostError
from edgepress.transport.base import Channel, Completed, Transport
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.frames import StreamEnded, encode_frame, read_frame
from edgepress_agent.protocol.messages import Failure


@dataclass(frozen=True)
class Answer:
    """What a scripted verb answers: a message of the protocol or JSON values, and a blob."""

    result: Any = field(default_factory=dict)
    blob: bytes | None = None


class Stall(Exception):
    """Raised by a scripted verb: no answer will come."""


class HangUp(Exception):
    """Raised by a scripted verb: the link ends here."""


class Refusal(Exception):
    """Raised by a scripted verb: the agent answers with this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


Verb = Callable[[dict[str, Any], bytes | None], Answer]


class ScriptedAgent:
    """Answers requests by one function per verb. ``requests`` collects what was asked: verb, params, blob."""

    def __init__(self, verbs: Mapping[str, Verb]) -> None:
        self._verbs = verbs
        self.requests: list[tuple[str, dict[str, Any], bytes | None]] = []

    def answer(self, header: dict[str, Any], blob: bytes | None) -> bytes:
        """Return the frame that answers a request."""
        verb, params = header["verb"], header["params"]
        self.requests.append((verb, params, blob))
        try:
            if verb not in self._verbs:
                raise Refusal(Failure("unknown-verb", f"the script has no {verb!r}"))
            answer = self._verbs[verb](params, blob)
        except Refusal as refusal:
            return encode_frame({"id": header["id"], "error": to_wire(refusal.failure)})
        result = to_wire(answer.result) if dataclasses.is_dataclass(answer.result) else answer.result
        return encode_frame({"id": header["id"], "result": result}, answer.blob)


class FakeTransport(Transport):
    """A device without a machine.

    Args:
        agent: who answers on every channel that is opened.
        run: what commands do; by default they succeed silently. ``commands`` collects them.

    Attributes:
        files: what was put, by path.
    """

    def __init__(self, agent: ScriptedAgent, run: Callable[[Sequence[str], bytes], Completed] | None = None) -> None:
        self._agent = agent
        self._run = run or _succeed
        self.commands: list[tuple[str, ...]] = []
        self.files: dict[str, bytes] = {}

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        del timeout_s
        self.commands.append(tuple(argv))
        return self._run(argv, stdin)

    def open(self, argv: Sequence[str]) -> Channel:
        self.commands.append(tuple(argv))
        return FakeChannel(self._agent)

    def put(self, source: Path | bytes, remote_path: str, timeout_s: float = 120.0) -> None:
        del timeout_s
        self.files[remote_path] = source if isinstance(source, bytes) else source.read_bytes()

    def close(self) -> None:
        pass


class FakeChannel(Channel):
    """The channel to a scripted agent: answers are there as soon as a request is complete; deadlines pass at once."""

    def __init__(self, agent: ScriptedAgent) -> None:
        self._agent = agent
        self._unread = bytearray()
        self._answers = bytearray()
        self._ended = False

    def read(self, size: int, deadline: float) -> bytes:
        del deadline
        if not self._answers and not self._ended:
            raise LinkLostError("no answer until the deadline passed")
        piece = bytes(self._answers[:size])
        del self._answers[:size]
        return piece

    def write(self, data: bytes, deadline: float) -> None:
        del deadline
        if self._ended:
            raise LinkLostError("the far side no longer reads")
        self._unread += data
        stream = io.BytesIO(self._unread)
        try:
            while True:
                frame = read_frame(stream)
                del self._unread[: stream.tell()]
                stream = io.BytesIO(self._unread)
                self._answer(frame.header, frame.blob)
        except StreamEnded:
            pass  # the rest of this frame comes with the next write

    def last_words(self) -> str:
        return ""

    def close(self) -> None:
        self._ended = True

    def _answer(self, header: dict[str, Any], blob: bytes | None) -> None:
        try:
            self._answers += self._agent.answer(header, blob)
        except HangUp:
            self._ended = True
        except Stall:
            pass


def _succeed(argv: Sequence[str], stdin: bytes) -> Completed:
    del argv, stdin
    return Completed(0, b"", b"")
