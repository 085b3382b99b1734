"""Job kind "install": a TFLite runtime in a venv of its own.

A venv cannot be moved, so it is made under its final name and marked complete last: a folder without the marker does
not count as a runtime, and the next installation removes it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

from edgepress_agent import launch
from edgepress_agent.durable import replace_file, sync_directory
from edgepress_agent.faults import Fault
from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import BenchmarkPlan, InstallSpec, Runtime
from edgepress_agent.running_job import RunningJob
from edgepress_agent.runtimes import MARKER, NAMES, read_installed
from edgepress_agent.smoke import SMOKE_MODEL, SMOKE_SHA256
from edgepress_agent.worker_task import Task

_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*([a-z]+[0-9]+)?")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])? *([<>=!~][A-Za-z0-9.,<>=!~* +-]+)?")
_LOG_TAIL_CHARACTERS = 4000
_STEPS = 4
_SMOKE_PLAN = BenchmarkPlan(
    name="smoke",
    processes=1,
    warmup_min_runs=1,
    warmup_min_ns=0,
    min_runs=1,
    min_duration_ns=0,
    max_duration_ns=1,
    seed=0,
    process_deadline_s=120.0,
    job_deadline_s=120.0,
)


def check(name: str, version: str, requirements: tuple[str, ...]) -> None:
    """Check what a host asks to install: it becomes a folder's name and arguments of pip.

    Raises:
        Fault: "bad-request".
    """
    if name not in NAMES:
        raise Fault("bad-request", f"runtime {name[:80]!r} is not known; known are {', '.join(NAMES)}")
    if not _VERSION.fullmatch(version):
        raise Fault("bad-request", f"{version[:80]!r} is not a version")
    for requirement in requirements:
        if not _REQUIREMENT.fullmatch(requirement):
            raise Fault("bad-request", f"{requirement[:80]!r} is not a requirement by name and version")


def run(job: RunningJob) -> None:
    """Install ``job.spec.install``, unless it is there; leaves ``findings.installed``.

    Raises:
        Fault: "install-failed", details have the end of the log.
    """
    spec = job.spec.install
    assert spec is not None  # checked when the job was started
    folder = job.home.runtime(spec.name, spec.version)
    there = read_installed(folder)
    if there is not None:
        job.progress(_STEPS, _STEPS, "was installed already")
        job.findings.installed = there
        return
    installation = _Installation(job, folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        runtime = _install(job, spec, installation)
        job.progress(3, _STEPS, "finishing")
        os.sync()  # thousands of files of pip's; the marker must not outlive them
        replace_file(folder / MARKER, dumps(to_wire(runtime)))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # hundreds of megabytes on what may be a full disk
        raise
    sync_directory(folder.parent)
    job.progress(_STEPS, _STEPS, "installed")
    job.findings.installed = runtime


def _install(job: RunningJob, spec: InstallSpec, installation: _Installation) -> Runtime:
    folder = installation.folder
    job.progress(0, _STEPS, "making a virtual environment")
    installation.command([sys.executable, "-m", "venv", str(folder)], "python3 -m venv (is python3-venv installed?)")
    job.progress(1, _STEPS, f"installing {spec.name} {spec.version}")
    pip = [str(installation.python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    installation.command([*pip, *spec.requirements, f"{spec.name}=={spec.version}"], "pip")
    job.progress(2, _STEPS, "trying it out")
    installation.make_agent_importable()
    runtime = installation.describe(spec.name)
    model = folder / "smoke.tflite"
    model.write_bytes(SMOKE_MODEL)
    job.work(
        runtime,
        Task(spec.name, str(model), SMOKE_SHA256, threads=1, delegate="default", plan=_SMOKE_PLAN),
        min(_SMOKE_PLAN.process_deadline_s, job.seconds_left(job.spec.deadline_s)),
    )
    return runtime


class _Installation:
    """The commands of one installation, with the job's deadline and a log of their own."""

    def __init__(self, job: RunningJob, folder: Path) -> None:
        self._job = job
        self.folder = folder
        self._log = job.folder.path / "install.log"
        self.python = folder / "bin" / "python"

    def command(self, argv: List[str], what: str) -> None:
        try:
            with self._log.open("ab") as log:
                status = subprocess.run(  # noqa: S603 - pip, with exact requirements, no shell
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=self._seconds_left(),
                    preexec_fn=launch.die_with_parent(),
                    check=False,
                ).returncode
        except subprocess.TimeoutExpired:
            raise self._failed("deadline", f"{what} did not finish within {self._job.spec.deadline_s:g} s") from None
        if status != 0:
            raise self._failed("install-failed", f"{what} failed with status {status}")

    def make_agent_importable(self) -> None:
        """Let ``import edgepress_agent`` in this venv find whatever agent is current, if agents come as zipapps."""
        root = launch.package_root()
        if root.parent == self._job.home.agents.resolve():
            (site,) = self.folder.glob("lib/python*/site-packages")
            (site / "edgepress_agent.pth").write_text(f"{self._job.home.agents / 'current.pyz'}\n")

    def describe(self, name: str) -> Runtime:
        """Ask the new Python what it has."""
        try:
            answer = subprocess.run(  # noqa: S603 - the Python that was installed just now
                launch.command(str(self.python), "describe-runtime", name),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._seconds_left(),
                preexec_fn=launch.die_with_parent(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._failed("deadline", f"{name} did not answer in time after it was installed") from None
        try:
            return from_wire(Runtime, loads(answer.stdout))
        except WireError:
            text = (answer.stdout + answer.stderr).decode("utf-8", "replace")[-_LOG_TAIL_CHARACTERS:]
            raise Fault("install-failed", f"{name} was installed but cannot be found", log=text) from None

    def _seconds_left(self) -> float:
        return max(0.0, self._job.seconds_left(self._job.spec.deadline_s))

    def _failed(self, code: str, message: str) -> Fault:
        text = self._log.read_bytes().decode("utf-8", "replace")
        details: Dict[str, str] = {"log": text[-_LOG_TAIL_CHARACTERS:]}
        if f"[Errno {errno.ENOSPC}]" in details["log"]:  # as pip and venv print it
            code = "disk-full"
        lines = text.strip().splitlines()
        return Fault(code, f"{message}: {lines[-1] if lines else 'no output'}", **details)
