"""What one board says of a set of models: can it load them, are its outputs right, how good and how fast are they.

The board is asked two things: the outputs of the goldens and of a sample of the test data (one ``evaluate`` job per
model), then the latency of all models together (one interleaved ``benchmark`` job). What the workstation knows of a
model is kept on disk while the benchmark runs, so that a report left behind by a lost link still becomes rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edgepress_agent.protocol.messages import JobReport

from edgepress.benchmarking import session
from edgepress.conversion import inspect
from edgepress.errors import AgentError, EdgepressError, RuntimeCompatibilityError
from edgepress.table.recording import MetricValue, Subject, result_of_run
from edgepress.verification.output_check import check_outputs
from edgepress.verification.reference import to_real

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BenchmarkPlan, Runtime
    from edgepress_converters.model import TFLiteModel
    from numpy.typing import NDArray

    from edgepress.data import Split
    from edgepress.devices.device import Device
    from edgepress.progress import Progress
    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore
    from edgepress.training.metrics import Metric
    from edgepress.verification.goldens import Goldens

    Array = NDArray[Any]


@dataclass(frozen=True)
class Candidate:
    """A TFLite file to be confirmed, with what the workstation knows of it."""

    model: TFLiteModel
    goldens: Goldens
    subject: Subject

    @property
    def name(self) -> str:
        """Recipe or file name, for people."""
        return self.subject.recipe or self.subject.model


@dataclass(frozen=True)
class Trial:
    """The data that every candidate is judged by on every board: the same samples for all."""

    metric: Metric
    sample: Split


@dataclass(frozen=True)
class Failed:
    """A candidate that gave no row on a device, and the error that says why."""

    device: str
    candidate: str
    error: EdgepressError


def confirm(
    device: Device,
    candidates: Sequence[Candidate],
    plan: BenchmarkPlan,
    store: ResultStore,
    *,
    trial: Trial | None,
    threads: int,
    runtime: Runtime,
    pending: Path,
    progress: Progress,
) -> tuple[tuple[Result, ...], tuple[Failed, ...]]:
    """Have a board judge and measure candidates, and record the rows.

    One candidate's failure does not stop the others. Reports of earlier calls that nobody collected are recorded first;
    where one covers exactly these candidates under this plan, it is taken instead of measuring again.

    Raises:
        TransportError: the board went away. KeyboardInterrupt: after the job on the board has ended.
    """
    collected = collect(device, store, pending, progress)
    judged: list[Candidate] = []
    failed: list[Failed] = []
    with progress.task(f"{device.name}: checking outputs", len(candidates)) as task:
        for done, candidate in enumerate(candidates):
            task.update(done, message=candidate.name)
            try:
                judged.append(_judged(device, candidate, trial, threads, runtime, progress))
            except (AgentError, RuntimeCompatibilityError) as error:
                failed.append(Failed(device.name, candidate.name, error))
    if not judged:
        return (), tuple(failed)
    same = _covered(collected, judged, plan, threads, runtime)
    if same:
        progress.note(f"{device.name}: took the report of a measurement that an earlier call left behind")
        return same, tuple(failed)
    _remember(pending, device, judged)
    report = session.measure(
        device,
        [candidate.model for candidate in judged],
        plan,
        threads=threads,
        runtime=runtime,
        progress=progress,
    )
    rows, unmeasured = _record(device, report, [(c.model, c.subject) for c in judged], store)
    return rows, (*failed, *unmeasured)


def collect(device: Device, store: ResultStore, pending: Path, progress: Progress) -> tuple[Result, ...]:
    """Record the reports on a board that an earlier call could not take home."""
    rows: list[Result] = []
    for report in session.collect(device):
        found = [_recall(pending, device, run.configuration.model_sha256) for run in report.runs]
        known = [subject for subject in found if subject is not None]
        if len(known) < len(found):
            continue  # another program's, or its models are gone: it stays on the board
        recorded, _ = _record(device, report, known, store)
        progress.note(f"{device.name}: collected job {report.job_id}, {len(recorded)} rows")
        rows.extend(recorded)
    return tuple(rows)


def judged_value(metric: Metric, outputs: tuple[Array, ...], sample: Split) -> MetricValue:
    """A metric of real-valued outputs on a sample, with its interval."""
    low, high = metric.interval(outputs, sample.targets)
    return MetricValue(metric.compute(outputs, sample.targets), low, high)


def _judged(
    device: Device,
    candidate: Candidate,
    trial: Trial | None,
    threads: int,
    runtime: Runtime,
    progress: Progress,
) -> Candidate:
    """Push and evaluate a candidate; return it with the board's metric and the level of its output check."""
    require_compatible(candidate.model, runtime, device.name)
    goldens = candidate.goldens
    inputs = goldens.inputs
    if trial is not None:
        inputs = tuple(np.concatenate([a, b.astype(a.dtype)]) for a, b in zip(inputs, trial.sample.inputs, strict=True))
    _, outputs = session.evaluate(device, candidate.model, inputs, threads=threads, runtime=runtime, progress=progress)
    count = len(goldens.inputs[0])
    check = check_outputs(goldens, candidate.model, tuple(array[:count] for array in outputs))
    subject = replace(candidate.subject, output_check=str(check.level))
    if trial is not None:
        real = to_real(candidate.model, tuple(array[count:] for array in outputs))
        subject = replace(subject, board_metric=judged_value(trial.metric, real, trial.sample))
    return replace(candidate, subject=subject)


def require_compatible(model: TFLiteModel, runtime: Runtime, device: str) -> None:
    """Refuse a model that the runtime cannot load, before anything is pushed.

    Raises:
        RuntimeCompatibilityError: names the operators, and the runtimes that would take them.
    """
    from edgepress_converters import runtimes

    reasons = runtimes.incompatibilities(model, runtime.name, runtime.version)
    if not reasons:
        return
    fitting = [
        f"{name} {version}" for name, version in runtimes.KNOWN if not runtimes.incompatibilities(model, name, version)
    ]
    raise RuntimeCompatibilityError(
        f"{model.path.name} needs more than {runtime.name} {runtime.version} on {device} has: {'; '.join(reasons)}. "
        + (f"These can load it: {', '.join(fitting)}." if fitting else "No known runtime can load it.")
    )


def _record(
    device: Device, report: JobReport, measured: Sequence[tuple[TFLiteModel, Subject]], store: ResultStore
) -> tuple[tuple[Result, ...], tuple[Failed, ...]]:
    """Make the rows of a report, store them, and only then let the board forget it."""
    rows: list[Result] = []
    failed: list[Failed] = []
    for run, (model, subject) in zip(report.runs, measured, strict=True):
        try:
            session.require_samples(run, device.name, report.job_id)
        except AgentError as error:
            failed.append(Failed(device.name, subject.recipe or subject.model, error))
            continue
        rows.append(result_of_run(run, report, model, subject, device.name))
    store.record(rows)
    session.acknowledge(device, report)
    return tuple(rows), tuple(failed)


def _covered(
    rows: Sequence[Result],
    candidates: Sequence[Candidate],
    plan: BenchmarkPlan,
    threads: int,
    runtime: Runtime,
) -> tuple[Result, ...]:
    """The collected rows that are what is about to be measured; empty unless they cover all of it."""
    of_model = {
        row.model_sha256: row
        for row in rows
        if row.evidence is not None
        and row.evidence.plan == plan
        and row.threads == threads
        and (row.runtime, row.runtime_version) == (runtime.name, runtime.version)
    }
    wanted = [candidate.model.sha256 for candidate in candidates]
    return tuple(of_model[sha256] for sha256 in wanted) if set(wanted) <= set(of_model) else ()


def _pending_file(pending: Path, device: Device, sha256: str) -> Path:
    return pending / device.name / f"{sha256}.json"


def _remember(pending: Path, device: Device, candidates: Sequence[Candidate]) -> None:
    for candidate in candidates:
        file = _pending_file(pending, device, candidate.model.sha256)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"path": str(candidate.model.path.resolve()), "subject": asdict(candidate.subject)}))


def _recall(pending: Path, device: Device, sha256: str) -> tuple[TFLiteModel, Subject] | None:
    file = _pending_file(pending, device, sha256)
    try:
        stored = json.loads(file.read_text())
        model = inspect(Path(stored["path"]))
    except (OSError, ValueError, EdgepressError):
        return None
    subject = stored["subject"]
    for which in ("host_metric", "board_metric"):
        subject[which] = MetricValue(**subject[which]) if subject[which] else None
    return (model, Subject(**subject)) if model.sha256 == sha256 else None
