"""A real agent as a subprocess, and the few words to talk to it: the agent's tests use no client of the host's."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress_agent.protocol.codec import from_wire, to_wire
from edgepress_agent.protocol.frames import Frame, read_frame, write_frame
from edgepress_agent.protocol.messages import (
    BenchmarkPlan,
    Configuration,
    JobReport,
    JobSpec,
    JobState,
)

MODELS = Path(__file__).parent.parent / "cases" / "models"
FINAL = ("ended", "failed", "cancelled")
DEADLINE_S = 60.0
RUNTIME = "ai-edge-litert"

QUICK = BenchmarkPlan(
    name="test",
    processes=2,
    warmup_min_runs=2,
    warmup_min_ns=1_000_000,
    min_runs=20,
    min_duration_ns=2_000_000,
    max_duration_ns=2_000_000_000,
    seed=7,
    process_deadline_s=30.0,
    job_deadline_s=60.0,
)


class Refused(Exception):
    """The agent answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.details: dict[str, Any] = error["details"]


class AgentProcess:
    """``python -m edgepress_agent serve`` with a home of its own."""

    def __init__(self, home: Path, lock: Path, argv: list[str] | None = None, **popen: Any) -> None:
        self.home = home
        self._number = 0
        environment = {**os.environ, "EDGEPRESS_HOME": str(home), "EDGEPRESS_LOCK": str(lock)}
        with (home.parent / "agent.stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                argv or [sys.executable, "-m", "edgepress_agent", "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                **popen,
            )

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> int:
        """Close its standard input and return its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        status = self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        return status

    def send(self, header: dict[str, Any], blob: bytes | None = None) -> None:
        assert self.process.stdin
        write_frame(self.process.stdin, header, blob)

    def read(self) -> Frame:
        assert self.process.stdout
        return read_frame(self.process.stdout)

    def call(self, verb: str, blob: bytes | None = None, **params: Any) -> Any:
        return self.frame(verb, blob, **params).header["result"]

    def frame(self, verb: str, blob: bytes | None = None, **params: Any) -> Frame:
        self._number += 1
        self.send({"id": self._number, "verb": verb, "params": params}, blob)
        answer = self.read()
        assert answer.header["id"] == self._number
        if "error" in answer.header:
            raise Refused(answer.header["error"])
        return answer

    def push(self, content: bytes) -> str:
        """Upload and commit bytes; return their sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.call("upload", content, sha256=sha256, offset=0, total_bytes=len(content))
        self.call("commit", sha256=sha256, total_bytes=len(content))
        return sha256

    def push_model(self, name: str) -> str:
        return self.push((MODELS / name).read_bytes())

    def start(self, spec: JobSpec) -> str:
        return str(self.call("start", **to_wire(spec))["job_id"])

    def wait_until(self, job_id: str, *statuses: str) -> JobState:
        """Long-poll until the job has one of these statuses."""
        end = time.monotonic() + DEADLINE_S
        seen = -1
        while time.monotonic() < end:
            state = from_wire(JobState, self.call("wait", job_id=job_id, seen=seen, timeout_s=5.0))
            if state.status in statuses:
                return state
            assert state.status not in FINAL, state
            seen = state.revision
        raise TimeoutError(f"job {job_id} did not become {statuses} within {DEADLINE_S} s")

    def fetch(self, job_id: str, name: str) -> bytes:
        frame = self.frame("fetch", job_id=job_id, name=name, offset=0, max_bytes=1 << 20)
        assert frame.blob is not None
        chunk = frame.header["result"]
        assert len(frame.blob) == chunk["total_bytes"]
        assert hashlib.sha256(frame.blob).hexdigest() == chunk["sha256"]
        return frame.blob

    def report(self, job_id: str) -> JobReport:
        from edgepress_agent.protocol.codec import loads

        self.wait_until(job_id, *FINAL)
        return from_wire(JobReport, loads(self.fetch(job_id, "report.json")))

    def run(self, spec: JobSpec) -> JobReport:
        return self.report(self.start(spec))


def files_of_at_most(size_bytes: int) -> Callable[[], None]:
    """Return a ``preexec_fn`` that lets no file grow larger: stands in for a full disk, writes really fail midway."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def configuration(sha256: str, **changes: Any) -> Configuration:
    return Configuration(sha256, RUNTIME, None, **changes)


def benchmark(*configurations: Configuration, plan: BenchmarkPlan = QUICK, **changes: Any) -> JobSpec:
    return JobSpec("benchmark", "tester@here", configurations, plan, **changes)


def evaluate(sha256: str, inputs_sha256: str, **changes: Any) -> JobSpec:
    return JobSpec("evaluate", "tester@here", (configuration(sha256),), inputs_sha256=inputs_sha256, **changes)
