"""The near half of the protocol: requests to an agent, and its answers, checked.

What a board sends is untrusted input: every answer is validated against the protocol's own dataclasses, strictly
(no conversions, no unknown or duplicate keys, no NaN), has a size limit, and its text is made fit for a terminal.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgepress.errors import AgentError, LinkLostError, ProtocolError
from edgepress.progress import Task
from edgepress.transport.agent_errors import agent_error
from edgepress.transport.base import Channel, printable
from edgepress.transport.release_requests import ReleaseRequests
from edgepress.transport.upload_requests import UploadRequests
from edgepress_agent.protocol.codec import WireError, loads, to_wire
from edgepress_agent.protocol.frames import CHUNK_BYTES, Frame, StreamEnded, encode_frame, read_frame
from edgepress_agent.protocol.messages import (
    JOB_STATUSES,
    PROTOCOL_VERSION,
    Captures,
    DeviceFacts,
    Failure,
    FileChunk,
    Hello,
    JobReport,
    JobSpec,
    JobState,
    LockState,
)

ANSWER_TIMEOUT_S = 60.0  # beside what a request itself may wait
CANCEL_TIMEOUT_S = 30.0  # processes are asked to end before they are killed
LONG_POLL_S = 2.0  # short enough that Ctrl-C, which needs the same channel to cancel, is answered soon
REPORT_LIMIT_BYTES = 64 << 20
FILE_LIMIT_BYTES = 1 << 30
FINAL_STATUSES = ("ended", "failed", "cancelled")

Answer = TypeVar("Answer")


class AgentClient(UploadRequests, ReleaseRequests):
    """One conversation with an agent, over a channel that the caller has opened. Not for use by several threads.

    Every method raises :class:`LinkLostError` when the channel ends or a deadline passes, :class:`ProtocolError` when
    the board sends what the protocol does not allow, and the :class:`AgentError` that fits when the agent refuses.
    """

    def __init__(self, channel: Channel, device_name: str, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._channel = channel
        self._answer_timeout_s = answer_timeout_s
        self._device = device_name
        self._answers = _Answers(channel)
        self._last_id = 0
        self._out_of_step: str | None = None

    def hello(self) -> Hello:
        """Exchange versions. To be called first.

        Raises:
            ProtocolError: the agent speaks another version of the protocol.
        """
        hello = self._ask("hello", Hello)
        if hello.protocol != PROTOCOL_VERSION:
            older = "agent on the board" if hello.protocol < PROTOCOL_VERSION else "edgepress on this machine"
            raise ProtocolError(
                f"the agent on {self._device} speaks version {hello.protocol} of the protocol, this edgepress version "
                f"{PROTOCOL_VERSION}: the {older} is older. `edgepress device provision {self._device}` "
                "brings the board to this edgepress's version",
                self._device,
            )
        return hello

    def facts(self) -> DeviceFacts:
        """Read the board's facts anew."""
        return self._ask("facts", DeviceFacts)

    def captures(self) -> Captures:
        """Read what the board's files and programs say, word for word, without serial numbers."""
        return self._ask("captures", Captures)

    def start(self, spec: JobSpec) -> JobState:
        """Start a job. It goes on when the link breaks, and waits for its turn when the board is busy."""
        return self._checked(self._ask("start", JobState, to_wire(spec)))

    def wait(self, job_id: str, task: Task | None = None, queue_deadline_s: float | None = None) -> JobState:
        """Wait until a job has come to its end, and return its final state, whatever the end was.

        A job that has the board ends by its own deadline, which the agent enforces; one that is queued waits as long as
        others hold the board, or until ``queue_deadline_s``. A :class:`KeyboardInterrupt` in between leaves the client
        usable: the caller cancels.

        Raises:
            AgentError: code "busy": others held the board until that deadline. The job is still queued.
        """
        seen, begun = -1, time.monotonic()
        while True:
            state = self._checked(
                self._ask(
                    "wait",
                    JobState,
                    {"job_id": job_id, "seen": seen, "timeout_s": LONG_POLL_S},
                    waits_s=LONG_POLL_S,
                )
            )
            if state.revision != seen and task is not None:
                task.update(state.done, state.total, state.message)
            if state.status in FINAL_STATUSES:
                return state
            waited_s = time.monotonic() - begun
            if state.status == "queued" and queue_deadline_s is not None and waited_s > queue_deadline_s:
                holder = state.waits_for.requested_by if state.waits_for else None
                raise AgentError(
                    f"{self._device} has been in use by {holder or 'somebody'} for the {waited_s:.0f} s that this was "
                    f"queued; `edgepress jobs list --device {self._device}` shows what is going on there",
                    self._device,
                    "busy",
                )
            seen = state.revision

    def report(self, job_id: str) -> JobReport:
        """Fetch a finished job's report."""
        data = self.fetch(job_id, "report.json", REPORT_LIMIT_BYTES)
        report = self._validated(JobReport, data, "report.json")
        if report.job_id != job_id or report.protocol != PROTOCOL_VERSION:
            raise self._violation(f"the report of job {job_id} is of job {report.job_id}, version {report.protocol}")
        return report

    def fetch(self, job_id: str, name: str, limit_bytes: int = FILE_LIMIT_BYTES) -> bytes:
        """Fetch a file of a job.

        Raises:
            ProtocolError: it is larger than ``limit_bytes``, or its bytes do not have the announced hash.
        """
        data = bytearray()
        while True:
            params = {"job_id": job_id, "name": name, "offset": len(data), "max_bytes": CHUNK_BYTES}
            frame = self._request("fetch", params)
            chunk = self._validated(FileChunk, _dumps(frame.header["result"]), "fetch")
            piece = frame.blob or b""
            if chunk.name != name or chunk.offset != len(data) or not len(data) + len(piece) <= chunk.total_bytes:
                raise self._violation(f"fetch of {name} from {len(data)} answered another piece")
            if chunk.total_bytes > limit_bytes:
                raise self._violation(f"{name} has {chunk.total_bytes} bytes, more than the {limit_bytes} allowed")
            data += piece
            if len(data) == chunk.total_bytes:
                break
            if not piece:
                raise self._violation(f"{name} ended after {len(data)} of {chunk.total_bytes} bytes")
        if hashlib.sha256(data).hexdigest() != chunk.sha256:
            raise self._violation(f"{name} does not have the hash that was announced")
        return bytes(data)

    def cancel(self, job_id: str) -> JobState:
        """Cancel a job. Its workers end, its lock is released, its report stays."""
        return self._checked(self._ask("cancel", JobState, {"job_id": job_id}, waits_s=CANCEL_TIMEOUT_S))

    def acknowledge(self, job_id: str) -> None:
        """Say that a finished job's results are safe on the host: the board deletes its directory."""
        self._request("acknowledge", {"job_id": job_id})

    def jobs(self) -> tuple[JobState, ...]:
        """List the board's jobs, finished ones that nobody has acknowledged included."""
        result = self._request("jobs").header["result"]
        if not isinstance(result, dict) or set(result) != {"jobs"} or not isinstance(result["jobs"], list):
            raise self._violation('jobs answered without a list of "jobs"')
        return tuple(self._checked(self._validated(JobState, _dumps(job), "jobs")) for job in result["jobs"])

    def lock(self) -> LockState:
        """Ask who holds the board."""
        return self._ask("lock", LockState)

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
        return self._validated(answer, _dumps(frame.header["result"]), verb)

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
        return self._validated(answer, _dumps(frame.header["result"]), verb)

    def _receive_result(self, verb: str, request_id: int, waits_s: float = 0.0, job_id: str = "") -> Frame:
        frame = self._receive(request_id, verb, time.monotonic() + waits_s + self._answer_timeout_s)
        if set(frame.header) == {"id", "error"}:
            raise agent_error(
                self._validated(Failure, _dumps(frame.header["error"]), verb),
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
            answer: Answer = _adapters[cls].validate_json(json.dumps(_printable(loads(data))))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise self._violation(f"{what}: {cls.__name__}.{where}: {first['msg']}") from None
        except WireError as error:
            raise self._violation(f"{what}: {error}") from None
        return answer

    def _checked(self, state: JobState) -> JobState:
        if state.status not in JOB_STATUSES:
            raise self._violation(f"a job's status is {state.status!r}; known are {', '.join(JOB_STATUSES)}")
        return state

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


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return value
