"""A job's folder: what the server and the job's own process tell each other through files.

=================== =================================================================================================
``spec.json``       the :class:`JobSpec`
``state.json``      the :class:`JobState`, replaced atomically
``alive``           locked by the job's process as long as it lives: the kernel tells when it has died
``process.json``    its process id, which is also its process group's
``cancel``          exists once somebody asked for the end
``job.log``         what the job and its workers wrote to stdout and stderr
``report.json``     the :class:`JobReport`, written before the state becomes final
``outputs.npys``    outputs of an evaluation
``reserve``         room on the disk for the last words
=================== =================================================================================================
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional, Tuple

from edgepress_agent.age import age_s
from edgepress_agent.durable import replace_file
from edgepress_agent.faults import failure_of
from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import JobReport, JobSpec, JobState

FINAL = ("ended", "failed", "cancelled")
REPORT = "report.json"
OUTPUTS = "outputs.npys"
LOG = "job.log"
_FETCHABLE = (REPORT, OUTPUTS, LOG)
_RESERVE = "reserve"
RESERVE_BYTES = 64 << 10


def first_state(job_id: str, spec: JobSpec) -> JobState:
    """Return the state of a job that has done nothing yet."""
    return JobState(
        job_id=job_id,
        kind=spec.kind,
        status="queued",
        revision=0,
        done=0,
        total=0,
        message="starting",
        requested_by=spec.requested_by,
        started_unix_ns=None,
        waits_for=None,
        files=(),
    )


class JobFolder:
    """One job on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def job_id(self) -> str:
        return self.path.name

    def read_spec(self) -> JobSpec:
        return from_wire(JobSpec, loads((self.path / "spec.json").read_bytes()))

    def write_spec(self, spec: JobSpec) -> None:
        replace_file(self.path / "spec.json", dumps(to_wire(spec)))

    def read_state(self) -> JobState:
        """Return the state as it was last written; one that a power cut destroyed begins again from the spec."""
        try:
            return from_wire(JobState, loads((self.path / "state.json").read_bytes()))
        except WireError:
            return first_state(self.job_id, self.read_spec())

    def state_mark(self) -> Optional[Tuple[int, int]]:
        """Return what differs whenever the state was written again, without reading it."""
        try:
            status = (self.path / "state.json").stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def unchanged_for_s(self, system: Path) -> float:
        """Return how long ago the state was last written. ``system`` is where ``/proc`` is."""
        return age_s(self.path / "state.json", system)

    def write_state(self, state: JobState) -> JobState:
        """Write a state that is not final. It need not outlast a power cut: the job does not either."""
        replace_file(self.path / "state.json", dumps(to_wire(state)), durable=False)
        return state

    def change_state(self, **changes: Any) -> JobState:
        """Write the next revision of the state."""
        state = self.read_state()
        return self.write_state(replace(state, revision=state.revision + 1, **changes))

    def make_reserve(self) -> None:
        """Take room now, so that a job on a disk that fills up can still say so."""
        with (self.path / _RESERVE).open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, RESERVE_BYTES)

    def write_report(self, report: JobReport) -> JobReport:
        """Write the report, durably. Where the disk has no room for it, one that says just that takes its place."""
        try:
            replace_file(self.path / REPORT, dumps(to_wire(report)))
        except OSError as error:
            failure = report.failure or failure_of(error)
            status = "failed" if report.status == "ended" else report.status
            reduced = replace(report, status=status, runs=(), evaluation=None, states=(), failure=failure)
            (self.path / _RESERVE).unlink(missing_ok=True)
            replace_file(self.path / REPORT, dumps(to_wire(reduced)))
            return reduced
        return report

    def finish(self, report: JobReport) -> JobState:
        """Write the final state that a report, already written, brings about."""
        (self.path / _RESERVE).unlink(missing_ok=True)
        state = self.final_state(report)
        replace_file(self.path / "state.json", dumps(to_wire(state)))
        return state

    def final_state(self, report: JobReport) -> JobState:
        """Return the state that a report brings about."""
        state = self.read_state()
        return replace(
            state,
            status=report.status,
            revision=state.revision + 1,
            message=report.failure.message if report.failure else report.status,
            waits_for=None,
            files=self.files(),
        )

    def read_report(self) -> JobReport:
        return from_wire(JobReport, loads((self.path / REPORT).read_bytes()))

    def files(self) -> Tuple[str, ...]:
        """Return the names of the files that exist and may be fetched from a job that is final."""
        return tuple(name for name in _FETCHABLE if (self.path / name).is_file())

    def write_process_id(self, process_id: int) -> None:
        replace_file(self.path / "process.json", dumps({"pid": process_id}), durable=False)

    def read_process_id(self) -> int:
        """Return the id of the job's process.

        Raises:
            FileNotFoundError: it has only just been started.
        """
        return int(loads((self.path / "process.json").read_bytes())["pid"])

    def ask_for_cancel(self) -> None:
        (self.path / "cancel").touch()

    def cancel_asked(self) -> bool:
        return (self.path / "cancel").exists()

    def lock_alive(self) -> int:
        """Take the lock that says "this job lives" and return the descriptor that holds it.

        Raises:
            BlockingIOError: its process lives.
        """
        descriptor = os.open(self.path / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        return descriptor
