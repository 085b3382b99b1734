"""The job's own process: waits for the board, does the work of its kind, leaves a report whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Callable, Dict, Optional, Tuple

from edgepress_agent import __version__, benchmark, evaluate, governor, install
from edgepress_agent.board_state import governors_of
from edgepress_agent.facts import read_facts
from edgepress_agent.faults import failure_of
from edgepress_agent.home import Home
from edgepress_agent.job_folder import JobFolder
from edgepress_agent.lock import BoardLock, lock_path, read_lock
from edgepress_agent.protocol.messages import PROTOCOL_VERSION, DeviceFacts, Failure, JobReport
from edgepress_agent.running_job import Findings, RunningJob

QUEUE_POLL_S = 0.25  # whoever holds the board is measuring

KINDS: Dict[str, Callable[[RunningJob], None]] = {
    "benchmark": benchmark.run,
    "evaluate": evaluate.run,
    "install": install.run,
}


class Cancelled(BaseException):
    """SIGTERM came. No ``except Exception`` may stop it."""


def main(directory: Path, home: Home) -> int:
    """Run the job in ``directory`` to its end; the exit status is 0 if it ended well."""
    folder = JobFolder(directory)
    signal.signal(signal.SIGTERM, _raise_cancelled)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    spec = folder.read_spec()
    lock = BoardLock(lock_path(os.environ))
    begun = time.time_ns()
    facts: Optional[DeviceFacts] = None
    findings = Findings()
    status, failure = "failed", None
    try:
        folder.write_process_id(os.getpid())
        facts = read_facts(home)
        _wait_for_board(folder, lock, spec.requested_by)
        governor.undo(home, home.system)  # a job that was killed may have left its own
        begun = time.time_ns()
        folder.change_state(status="running", started_unix_ns=begun, waits_for=None, message="starting")
        KINDS[spec.kind](RunningJob(folder, spec, home, facts, findings))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        status = "ended"
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # too late: the report is written now
        status, failure = _verdict(error)
        with contextlib.suppress(ProcessLookupError):  # not started by a server: a group of somebody else's
            os.killpg(os.getpid(), signal.SIGTERM)  # what a pip that was killed has started, such as a compiler
    report = folder.write_report(
        JobReport(
            protocol=PROTOCOL_VERSION,
            job_id=folder.job_id,
            kind=spec.kind,
            status=status,
            started_unix_ns=begun,
            ended_unix_ns=time.time_ns(),
            agent_version=__version__,
            facts=_as_measured(facts, findings),
            plan=spec.plan,
            runs=tuple(findings.runs),
            evaluation=findings.evaluation,
            installed=findings.installed,
            states=tuple(findings.states),
            failure=failure,
        )
    )
    lock.release()  # first: whoever hears that the job has ended finds the board free
    folder.finish(report)
    return 0 if report.status == "ended" else 1


def _wait_for_board(folder: JobFolder, lock: BoardLock, requested_by: str) -> None:
    path = lock_path(os.environ)
    shown = None
    while not lock.try_take(folder.job_id, requested_by):
        holder = read_lock(path)
        if holder != shown and holder.held:
            folder.change_state(waits_for=holder, message=f"waits for {holder.requested_by or 'another job'}")
            shown = holder
        time.sleep(QUEUE_POLL_S)


def _as_measured(facts: Optional[DeviceFacts], findings: Findings) -> Optional[DeviceFacts]:
    """The board with the governors that it was measured with, which a job may set and put back."""
    if facts is None or not findings.states:
        return facts
    return replace(facts, governor="+".join(governors_of(findings.states)) or None)


def _verdict(error: BaseException) -> Tuple[str, Failure]:
    if isinstance(error, Cancelled):
        return "cancelled", Failure("cancelled", "cancelled on request")
    return "failed", failure_of(error)


def _raise_cancelled(_number: int, _frame: Optional[FrameType]) -> None:
    raise Cancelled
