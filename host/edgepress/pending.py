"""Measurements that a device still owes: what the workstation must know to make rows of a job's report.

One file per job, locked by the process that waits for it. A file that nobody locks was left behind by a lost link or a
killed program: whoever talks to that device next takes the report home.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.conversion import inspect
from edgepress.errors import AgentError, ModelError
from edgepress.table.recording import MetricValue, Subject

if TYPE_CHECKING:
    from edgepress_converters.model import TFLiteModel


@dataclass(frozen=True)
class Measured:
    """A file that a job measures, and what the workstation knows of it."""

    model: TFLiteModel
    subject: Subject


@dataclass(frozen=True)
class PendingJobs:
    """The jobs of one device, in a folder of this machine."""

    folder: Path

    @contextmanager
    def waiting(self, job_id: str, measured: Sequence[Measured]) -> Iterator[None]:
        """Keep a job on file while this process waits for it.

        The end of the block settles the job, and so does an interrupt, after which it was cancelled, and an error of
        the agent, which has no report that could be taken. Anything else (a lost connection, a table that cannot be
        written, the death of this process) leaves the file without its lock: the job was left behind.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(job_id)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                json.dump([_as_json(one) for one in measured], file)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            try:
                yield
            except (AgentError, KeyboardInterrupt):
                path.unlink(missing_ok=True)
                raise
            path.unlink(missing_ok=True)

    @contextmanager
    def left_behind(self, job_id: str) -> Iterator[tuple[Measured, ...] | None]:
        """Give what a job measures if it was left behind here, else None. Forget it when the block ends well.

        Forget it as well on an error of the agent: a report that cannot be read today would stop every later call.

        None as well where one of the files is gone or has changed: the report then stays on the device.
        """
        try:
            file = self._path(job_id).open()
        except OSError:
            yield None
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                measured = tuple(_from_json(values) for values in json.load(file))
            except (BlockingIOError, ValueError, KeyError, TypeError, ModelError):
                yield None
                return
            try:
                yield measured
            except AgentError:
                self._path(job_id).unlink(missing_ok=True)
                raise
            self._path(job_id).unlink(missing_ok=True)

    def _path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.json"


def _as_json(measured: Measured) -> dict[str, Any]:
    return {
        "path": str(measured.model.path.resolve()),
        "sha256": measured.model.sha256,
        "subject": asdict(measured.subject),
    }


def _from_json(values: dict[str, Any]) -> Measured:
    model = inspect(Path(values["path"]))
    if model.sha256 != values["sha256"]:
        raise ValueError(f"{model.path} has changed since it was measured")
    subject = dict(values["subject"])
    for which in ("host_metric", "board_metric"):
        subject[which] = MetricValue(**subject[which]) if subject[which] else None
    return Measured(model, Subject(**subject))
