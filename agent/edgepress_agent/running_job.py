"""What the work of a job is given, and where it puts what it finds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import List, Optional

from edgepress_agent.content import ContentStore
from edgepress_agent.home import Home
from edgepress_agent.job_folder import LOG, JobFolder
from edgepress_agent.protocol.messages import (
    BoardState,
    Configuration,
    DeviceFacts,
    EvaluateReport,
    JobSpec,
    RunReport,
    Runtime,
)
from edgepress_agent.runtimes import choose
from edgepress_agent.worker_process import Watch, run_worker
from edgepress_agent.worker_task import Task, WorkerResult


@dataclass
class Findings:
    """What a job has found so far: it goes into the report also when the job fails or is cancelled."""

    runs: List[RunReport] = field(default_factory=list)
    evaluation: Optional[EvaluateReport] = None
    installed: Optional[Runtime] = None
    states: List[BoardState] = field(default_factory=list)


class RunningJob:
    """A job that holds the board."""

    def __init__(self, folder: JobFolder, spec: JobSpec, home: Home, facts: DeviceFacts, findings: Findings) -> None:
        self.folder = folder
        self.spec = spec
        self.home = home
        self.facts = facts
        self.findings = findings
        self.content = ContentStore(home)
        self._begun = time.monotonic()

    def progress(self, done: int, total: int, message: str) -> None:
        """Tell whoever waits how far the job is."""
        self.folder.change_state(done=done, total=total, message=message)

    def seconds_left(self, deadline_s: float) -> float:
        """Return what is left of a deadline that is counted from the moment the job held the board."""
        return self._begun + deadline_s - time.monotonic()

    def runtime(self, configuration: Configuration) -> Runtime:
        """Return the runtime that a configuration asks for.

        Raises:
            Fault: "no-runtime".
        """
        return choose(self.facts.runtimes, configuration.runtime_name, configuration.runtime_version)

    def log(self, line: str) -> None:
        """Add a line to the job's log."""
        with (self.folder.path / LOG).open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def work(self, runtime: Runtime, task: Task, deadline_s: float, watch: Optional[Watch] = None) -> WorkerResult:
        """Run a task in a fresh worker; the progress that it tells of becomes the job's.

        Raises:
            Fault: see :func:`run_worker`.
        """
        with (self.folder.path / LOG).open("ab") as log:
            memory_bytes = self.facts.memory_total_bytes or None
            return run_worker(runtime.python, task, deadline_s, log, self._tell, watch, memory_bytes)

    def _tell(self, done: int, total: int) -> None:
        self.progress(done, total, f"sample {done} of {total}")
