"""All requests to an agent."""

from __future__ import annotations

import hashlib
import time

from edgepress.errors import AgentError, ProtocolError
from edgepress.progress import Task
from edgepress.transport.release_requests import ReleaseRequests
from edgepress.transport.upload_requests import UploadRequests
from edgepress_agent.protocol.codec import dumps, to_wire
from edgepress_agent.protocol.frames import CHUNK_BYTES
from edgepress_agent.protocol.messages import (
    JOB_STATUSES,
    PROTOCOL_VERSION,
    Captures,
    DeviceFacts,
    FileChunk,
    Hello,
    JobReport,
    JobSpec,
    JobState,
    LockState,
)

CANCEL_TIMEOUT_S = 30.0  # processes are asked to end before they are killed
LONG_POLL_S = 2.0  # short enough that Ctrl-C, which needs the same channel to cancel, is answered soon
REPORT_LIMIT_BYTES = 64 << 20
FILE_LIMIT_BYTES = 1 << 30
FINAL_STATUSES = ("ended", "failed", "cancelled")


class AgentClient(UploadRequests, ReleaseRequests):
    """A conversation with an agent: what may be asked of it. Errors are those of every request."""

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
            chunk = self._validated(FileChunk, dumps(frame.header["result"]), "fetch")
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
        return tuple(self._checked(self._validated(JobState, dumps(job), "jobs")) for job in result["jobs"])

    def lock(self) -> LockState:
        """Ask who holds the board."""
        return self._ask("lock", LockState)

    def _checked(self, state: JobState) -> JobState:
        if state.status not in JOB_STATUSES:
            raise self._violation(f"a job's status is {state.status!r}; known are {', '.join(JOB_STATUSES)}")
        return state
