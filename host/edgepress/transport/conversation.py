"""Requests to an agent and its answers, checked: the near half of the protocol's frames.

What a board sends is untrusted input: every answer is validated against the protocol's own dataclasses, strictly
(no conversions, no unknown or duplicate keys, no NaN), has a size limit, and its text is made fit for a terminal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgepress.errors import LinkLostError, ProtocolError
from edgepress.transport.agent_errors import agent_error
from edgepress.transport.base import Channel, printable
from edgepress_agent.protocol.codec import WireError, dumps, loads
from edgepress_agent.protocol.frames import Frame, StreamEnded, encode_frame, read_frame
from edgepress_agent.protocol.messages import Failure

ANSWER_TIMEOUT_S = 60.0  # beside what a request itself may wait

Answer = TypeVar("Answer")


class Conversation:
    """One conversation with an agent, over a channel that the caller has opened. Not for use by several threads.

    Every request raises :class:`LinkLostError` when the channel ends or a deadline passes, :class:`ProtocolError` when
    the board sends what the protocol does not allow, and the :class:`AgentError` that fits when the agent refuses.
    """

    def __init__(self, channel: Channel, device_name: str, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._channel = channel
        self._answer_timeout_s = answer_timeout_s
        self._device = device_name
        self._answers = _Answers(channel)
        self._last_id = 0
        self._out_of_step: str | None = None

    def close(self) -> None:
        """End the conversation; the agent ends, its jobs go on."""
        self._channel.close()

    def _ask(
        self,
        verb: str,
        answer: type[Answer],
        params: Mapping[str, Any] | None = None,
        blob: bytes | None = None,
        waits_s: float = 0.0,
    ) -> Answer:
        frame = self._request(verb, params, blob, waits_s)
        return self._validated(answer, dumps(frame.header["result"]), verb)

    def _request(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        blob: bytes | None = None,
        waits_s: float = 0.0,  # how long the agent itself may take for it
    ) -> Frame:
        request_id = self._begin(verb, params or {}, blob)
        return self._receive_result(verb, request_id, waits_s, str((params or {}).get("job_id", "")))

    def _begin(self, verb: str, params: Mapping[str, Any], blob: bytes | None = None) -> int:
        if self._out_of_step is not None:
            raise LinkLostError(f"the conversation with {self._device} is over: {self._out_of_step}", self._device)
        self._last_id += 1
        data = encode_frame({"id": self._last_id, "verb": verb, "params": dict(params)}, blob)
        self._send(data, time.monotonic() + self._answer_timeout_s)
        return self._last_id

    def _finish(self, verb: str, answer: type[Answer], request_id: int) -> Answer:
        frame = self._receive_result(verb, request_id)
        return self._validated(answer, dumps(frame.header["result"]), verb)

    def _receive_result(self, verb: str, request_id: int, waits_s: float = 0.0, job_id: str = "") -> Frame:
        frame = self._receive(request_id, verb, time.monotonic() + waits_s + self._answer_timeout_s)
        if set(frame.header) == {"id", "error"}:
            raise agent_error(
                self._validated(Failure, dumps(frame.header["error"]), verb),
                self._device,
                job_id,
            )
        if set(frame.header) != {"id", "result"}:
            raise self._violation(f"{verb} answered {sorted(frame.header)}, not one of result and error")
        return frame

    def _send(self, data: bytes, deadline: float) -> None:
        self._out_of_step = "a request was interrupted while it was sent"
        self._channel.write(data, deadline)
        self._out_of_step = None

    def _receive(self, request_id: int, verb: str, deadline: float) -> Frame:
        while True:
            try:
                frame = self._answers.next(deadline)
            except StreamEnded as ended:
                self._out_of_step = str(ended)
                raise self._ended(verb, ended) from ended
            except LinkLostError as error:
                self._out_of_step = str(error)
                raise
            except WireError as error:
                raise self._violation(f"{error}. Does something print when one logs in (~/.bashrc)?") from error
            answered = frame.header.get("id")
            if type(answered) is int and answered == request_id:
                return frame
            # Answers to requests whose wait was interrupted come first, and nobody wants them any more.
            if type(answered) is not int or not 0 < answered < request_id:
                raise self._violation(f"{verb} is request {request_id}, answered was {printable(repr(answered)[:40])}")

    def _ended(self, verb: str, ended: StreamEnded) -> LinkLostError:
        last_words = self._channel.last_words()
        return LinkLostError(
            f"the agent on {self._device} is gone ({ended}) while it was asked for {verb}"
            + (f"; {last_words}" if last_words else "")
            + f". Jobs on the board go on; run the command again, or `edgepress device check {self._device}`, "
            "to collect them",
            self._device,
        )

    def _validated(self, cls: type[Answer], data: bytes, what: str) -> Answer:
        try:
            # `loads` refuses what pydantic lets through: duplicate keys, and NaN where anything may stand. Validated is
            # JSON text again, because only there does strict mode take arrays for tuples.
            answer: Answer = _adapters[cls].validate_json(dumps(_printable(loads(data))))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise self._violation(f"{what}: {cls.__name__}.{where}: {first['msg']}") from None
        except WireError as error:
            raise self._violation(f"{what}: {error}") from None
        return answer

    def _violation(self, what: str) -> ProtocolError:
        self._out_of_step = "it broke the protocol"
        return ProtocolError(f"{self._device} broke the protocol: {printable(what[:500])}", self._device, "bad-request")


class _Answers:
    """Frames from a channel. One that was read in part when the reader was interrupted is read again from its start."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._kept = bytearray()
        self._position = 0
        self._deadline = 0.0

    def next(self, deadline: float) -> Frame:
        self._position, self._deadline = 0, deadline
        frame = read_frame(self)
        del self._kept[: self._position]
        return frame

    def read(self, size: int, /) -> bytes:
        if self._position == len(self._kept):
            self._kept += self._channel.read(max(size, 1 << 16), self._deadline)
        piece = bytes(self._kept[self._position : self._position + size])
        self._position += len(piece)
        return piece


class _Adapters(dict[type, TypeAdapter[Any]]):
    def __missing__(self, cls: type) -> TypeAdapter[Any]:
        self[cls] = TypeAdapter(cls)
        return self[cls]


_adapters = _Adapters()  # built when first used: a validator takes milliseconds to build


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return value
