"""A worker process as the job sees it: started, listened to, killed at its deadline, its death explained."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import time
from dataclasses import replace
from typing import IO, Any, Callable, Dict, Optional, Protocol

from edgepress_agent import launch
from edgepress_agent.faults import Fault
from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import Failure
from edgepress_agent.worker_task import Task, WorkerResult

# No host fetches a larger file, and nobody looks at a core dump.
_LIMITS = {resource.RLIMIT_FSIZE: 1 << 30, resource.RLIMIT_CORE: 0}


class Watch(Protocol):
    """What looks at the board while a worker runs (see :class:`edgepress_agent.monitor.Monitor`)."""

    def begin(self) -> None:
        """The model is loaded."""

    def seconds_to_next(self) -> Optional[float]:
        """How long to listen to the worker before :meth:`take`; None: as long as it takes."""

    def take(self) -> None:
        """Take a look."""


def run_worker(
    python: str,
    task: Task,
    deadline_s: float,
    log: IO[bytes],
    on_progress: Callable[[int, int], None],
    watch: Optional[Watch] = None,
    memory_bytes: Optional[int] = None,
) -> WorkerResult:
    """Run a task in a fresh process of its own.

    Args:
        python: the interpreter that has the runtime.
        deadline_s: seconds after which the worker is killed.
        log: takes what the worker and its libraries write to stdout and stderr.
        on_progress: called with the number of samples done, and of all.
        watch: looks at the board from warm-up to the end.
        memory_bytes: of data that the worker may have, so that a model which asks for more is refused, and not the
            whole board brought to a halt.

    Raises:
        Fault: what the worker reported ("model-rejected", "model-failed", "bad-request", ...); "worker-killed" with
            the signal and the phase when it died; "deadline".
    """
    read_end, write_end = os.pipe()
    end = time.monotonic() + deadline_s
    limits = {**_LIMITS, **({} if memory_bytes is None else {resource.RLIMIT_DATA: memory_bytes})}
    forked_ns = time.monotonic_ns()
    try:
        process = subprocess.Popen(  # noqa: S603 - this very agent, in a Python that it has found
            launch.command(python, "worker", str(write_end)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            preexec_fn=launch.die_with_parent(limits),
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    listener = _Listener(read_end, on_progress, watch)
    try:
        _hand_over(process, dumps(to_wire(task)))
        in_time = listener.listen(end)
    finally:
        os.close(read_end)
        process.kill()  # late, cancelled, or already ended: then this changes nothing
        process.wait()
    details: Dict[str, Any] = {"phase": listener.phase, "model_sha256": task.model_sha256}
    if not in_time:
        raise Fault("deadline", f"the worker did not finish within {deadline_s:.1f} s ({listener.phase})", **details)
    if listener.outcome is None:
        raise _death(process.returncode, details)
    if "failure" in listener.outcome:
        failure = from_wire(Failure, listener.outcome["failure"])
        raise Fault(failure.code, failure.message, **{**details, **failure.details})
    result = from_wire(WorkerResult, listener.outcome["result"])
    return replace(result, spawn_ns=result.entered_ns - forked_ns)


def _hand_over(process: subprocess.Popen[bytes], task: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(task)
        process.stdin.close()
    except BrokenPipeError:  # it died before it read: how, its exit status will say
        pass


def _death(status: int, details: Dict[str, Any]) -> Fault:
    if status < 0:
        name = signal.Signals(-status).name
        message = f"the worker was killed by {name} ({details['phase']}) with model {details['model_sha256']}"
        if name == "SIGKILL":
            message += "; so kills the kernel when memory runs out"
        return Fault("worker-killed", message, signal=name, **details)
    return Fault("internal", f"the worker exited with status {status} and no answer; see job.log", **details)


class _Listener:
    """Reads a worker's lines until it has answered or closed the pipe."""

    def __init__(self, descriptor: int, on_progress: Callable[[int, int], None], watch: Optional[Watch]) -> None:
        self._descriptor = descriptor
        self._on_progress = on_progress
        self._watch = watch
        self._rest = b""
        self.phase = "start"
        self.outcome: Optional[Dict[str, Any]] = None

    def listen(self, end: float) -> bool:
        """Return False when ``end`` (CLOCK_MONOTONIC, seconds) comes first."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                wake = self._watch.seconds_to_next() if self._watch else None
                if not selector.select(left if wake is None else min(left, wake)):
                    if self._watch and wake is not None and wake <= left:
                        self._watch.take()
                    continue
                data = os.read(self._descriptor, 1 << 20)
                if not data:
                    return True
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        return False

    def _take(self, line: bytes) -> None:
        try:
            said = loads(line)
        except WireError as error:
            raise Fault("internal", f"the worker answered no JSON: {error}") from None
        if "phase" in said:
            self.phase = said["phase"]
            if self.phase == "warm-up" and self._watch:
                self._watch.begin()
        elif "done" in said:
            self._on_progress(said["done"], said["total"])
        else:
            self.outcome = said
