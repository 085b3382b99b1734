"""Jobs as the server sees them: it starts them, asks how they are, ends them, hands out what they made.

A job is a process of its own session. It goes on when the server ends, and any later server finds it by its folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from edgepress_agent import __version__, launch
from edgepress_agent.durable import only_one, remove_debris, remove_folder, sha256_of
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.job_folder import FINAL, LOG, REPORT, JobFolder, first_state
from edgepress_agent.protocol.codec import WireError
from edgepress_agent.protocol.frames import CHUNK_BYTES
from edgepress_agent.protocol.messages import PROTOCOL_VERSION, Failure, FileChunk, JobReport, JobSpec, JobState

LONGEST_WAIT_S = 60.0
TERMINATE_GRACE_S = 10.0  # a job writes its report within it
POLL_S = 0.05  # one stat() each: the board may be measuring
LIVENESS_S = 0.5  # how often a waiting server asks whether the job's process lives
# How long a job that ended waits to be acknowledged. A lost link leaves evaluations and installations that no host
# comes back for, because asking again is cheap; a measurement is worth more.
MEASUREMENT_KEPT_S = 30 * 86_400.0
OTHERS_KEPT_S = 86_400.0
_JOB_ID = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{8}")


class JobStore:
    """The jobs under one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._children: List[subprocess.Popen[bytes]] = []
        self._hashes: Dict[Tuple[str, int, int], str] = {}

    def start(self, spec: JobSpec) -> JobState:
        """Start a job's process and return without waiting for it."""
        self._forget_ended_children()
        self._home.jobs.mkdir(parents=True, exist_ok=True)
        self.tidy_up()
        job_id = _new_id(time.time_ns())
        state = first_state(job_id, spec)
        with only_one(self._home.jobs), contextlib.ExitStack() as unless_started:
            new = JobFolder(self._home.jobs / f".new-{job_id}")
            new.path.mkdir()
            unless_started.callback(shutil.rmtree, new.path, ignore_errors=True)
            new.write_spec(spec)
            new.write_state(state)
            new.make_reserve()
            folder = JobFolder(self._home.jobs / job_id)
            alive = new.lock_alive()
            try:
                new.path.rename(folder.path)
                unless_started.callback(shutil.rmtree, folder.path, ignore_errors=True)
                self._children.append(self._process(folder, alive))
            finally:
                os.close(alive)
            unless_started.pop_all()
        return state

    def states(self) -> Tuple[JobState, ...]:
        """Return the states of all jobs, oldest first."""
        if not self._home.jobs.is_dir():
            return ()
        names = sorted(path.name for path in self._home.jobs.iterdir() if _JOB_ID.fullmatch(path.name))
        states = []
        for name in names:
            with contextlib.suppress(Fault, FileNotFoundError, WireError):  # just acknowledged; of another version
                states.append(self.state(name))
        return tuple(states)

    def state(self, job_id: str) -> JobState:
        """Return a job's state. A job whose process died without a word is brought to its end here."""
        folder = self._folder(job_id)
        state = folder.read_state()
        if state.status in FINAL:
            return state
        try:
            alive = folder.lock_alive()
        except BlockingIOError:
            return state
        try:
            return _bury(folder)
        finally:
            os.close(alive)

    def wait(self, job_id: str, seen: int, timeout_s: float, link_is_up: Callable[[float], bool]) -> JobState:
        """Return the job's state once its revision is not ``seen``, or after ``timeout_s``.

        ``link_is_up(seconds)`` sleeps that long, or less when the other side went away, and says whether it is there.
        """
        folder = self._folder(job_id)
        end = time.monotonic() + min(timeout_s, LONGEST_WAIT_S)
        while True:
            mark = folder.state_mark()
            state = self.state(job_id)
            if state.revision != seen or time.monotonic() >= end:
                return state
            look_again = min(end, time.monotonic() + LIVENESS_S)
            while folder.state_mark() == mark and time.monotonic() < look_again:
                if not link_is_up(POLL_S):
                    return state

    def chunk(self, job_id: str, name: str, offset: int, max_bytes: int) -> Tuple[FileChunk, bytes]:
        """Return a piece of one of a job's files, and what the whole of it is.

        Raises:
            Fault: "not-found" for a name that is not in the job's ``files``; "bad-request" for an offset outside it.
        """
        files = self.state(job_id).files
        if name not in files:
            raise Fault("not-found", f"job {job_id} has no file {name[:80]!r} now; it has {', '.join(files) or 'none'}")
        path = self._folder(job_id).path / name
        size = path.stat().st_size
        if not 0 <= offset <= size or max_bytes < 1:
            raise Fault("bad-request", f"{name} has {size} bytes; offset {offset}, {max_bytes} bytes were asked for")
        with path.open("rb") as stream:
            stream.seek(offset)
            piece = stream.read(min(max_bytes, CHUNK_BYTES))
        return FileChunk(name, offset, size, self._hash(path)), piece

    def cancel(self, job_id: str) -> JobState:
        """End a job: SIGTERM to its processes, so that it can report; SIGKILL to those that are left."""
        folder = self._folder(job_id)
        folder.ask_for_cancel()
        if not self._signal_until_dead(folder, signal.SIGTERM, TERMINATE_GRACE_S):
            self._signal_until_dead(folder, signal.SIGKILL, TERMINATE_GRACE_S)
        self._forget_ended_children()
        return self.state(job_id)

    def acknowledge(self, job_id: str) -> None:
        """Delete a job that has ended.

        Raises:
            Fault: "busy" for a job that is not final.
        """
        state = self.state(job_id)
        if state.status not in FINAL:
            raise Fault("busy", f"job {job_id} is {state.status}: cancel it before it is deleted")
        remove_folder(self._folder(job_id).path)

    def _process(self, folder: JobFolder, alive: int) -> subprocess.Popen[bytes]:
        with (folder.path / LOG).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - this very agent
                launch.command(sys.executable, "job", str(folder.path)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(alive,),  # the job inherits the lock that says it lives
                start_new_session=True,
                env={**os.environ, "EDGEPRESS_HOME": str(self._home.root)},
            )

    def tidy_up(self) -> None:
        """Remove what nobody will ask for: folders half made or half deleted, and jobs that ended long ago."""
        if not self._home.jobs.is_dir():
            return
        remove_debris(self._home.jobs)
        with only_one(self._home.jobs):
            for debris in self._home.jobs.glob(".new-*"):
                shutil.rmtree(debris, ignore_errors=True)
        for state in self.states():
            kept_s = MEASUREMENT_KEPT_S if state.kind == "benchmark" else OTHERS_KEPT_S
            with contextlib.suppress(Fault, FileNotFoundError):  # its host, or another one's agent, was quicker
                unchanged_s = self._folder(state.job_id).unchanged_for_s(self._home.system)
                if state.status in FINAL and unchanged_s > kept_s:
                    self.acknowledge(state.job_id)

    def _signal_until_dead(self, folder: JobFolder, number: signal.Signals, patience_s: float) -> bool:
        end = time.monotonic() + patience_s
        sent = False
        while self.state(folder.job_id).status not in FINAL or _lives(folder):
            if not sent:
                try:
                    os.killpg(folder.read_process_id(), number)
                    sent = True
                except (FileNotFoundError, ProcessLookupError):  # it has not come to writing its id, or just ended
                    pass
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S / 5)
        return True

    def _hash(self, path: Path) -> str:
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes = {key: sha256_of(path)}  # one is enough: files are fetched one after another
        return self._hashes[key]

    def _folder(self, job_id: str) -> JobFolder:
        if not _JOB_ID.fullmatch(job_id) or not (self._home.jobs / job_id).is_dir():
            raise Fault("not-found", f"no job {job_id[:80]!r} on this board")
        return JobFolder(self._home.jobs / job_id)

    def _forget_ended_children(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]


def _new_id(unix_ns: int) -> str:
    """Return an id that sorts by its time (UTC, to the millisecond)."""
    seconds, rest = divmod(unix_ns, 10**9)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}{rest // 10**6:03d}-{secrets.token_hex(4)}"


def _lives(folder: JobFolder) -> bool:
    try:
        os.close(folder.lock_alive())
    except BlockingIOError:
        return True
    return False


def _bury(folder: JobFolder) -> JobState:
    """Give a job whose process is gone its report and final state. The caller holds its lock."""
    state = folder.read_state()
    if state.status in FINAL:
        return state
    if REPORT in folder.files():  # it died between its last two writes
        return folder.finish(folder.read_report())
    started = state.started_unix_ns or time.time_ns()
    failure = Failure("cancelled", "cancelled; its processes did not end by themselves in time")
    if not folder.cancel_asked():
        failure = Failure(
            "internal",
            "the job's process ended without a report: killed, out of memory, or a power cut; see job.log",
            {"last_message": state.message},
        )
    report = JobReport(
        protocol=PROTOCOL_VERSION,
        job_id=folder.job_id,
        kind=state.kind,
        status="cancelled" if folder.cancel_asked() else "failed",
        started_unix_ns=started,
        ended_unix_ns=time.time_ns(),
        agent_version=__version__,
        facts=None,
        failure=failure,
    )
    try:
        return folder.finish(folder.write_report(report))
    except OSError:  # a full disk must not hide that the job is over
        return folder.final_state(report)
