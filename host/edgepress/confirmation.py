"""What one board says of a set of models: can it load them, are its outputs right, how good and how fast are they.

The board is asked two things: the outputs of the goldens and of a sample of the test data (one ``evaluate`` job per
model), then the latency of all models together (one interleaved ``benchmark`` job).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.benchmarking import session
from edgepress.benchmarking.roofline import bound_of
from edgepress.benchmarking.session import Way
from edgepress.devices.jobs import interrupt_held
from edgepress.errors import AgentError, EdgepressError, ProtocolError, RuntimeCompatibilityError
from edgepress.pending import Measured, PendingJobs
from edgepress.table.recording import MetricValue, Subject, result_of_run
from edgepress.verification.output_check import check_outputs
from edgepress.verification.reference import to_real
from edgepress_converters.cost import file_cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress.data import Split
    from edgepress.devices.device import Device
    from edgepress.progress import Progress
    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore
    from edgepress.training.metrics import Metric
    from edgepress.verification.goldens import Goldens
    from edgepress_agent.protocol.messages import BenchmarkPlan, JobReport, Runtime
    from edgepress_converters.model import TFLiteModel

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
    ways: Sequence[Way],
    pending: PendingJobs,
    progress: Progress,
) -> tuple[tuple[Result, ...], tuple[Failed, ...]]:
    """Have a board judge and measure candidates in each of several ways, all in one session, and record the rows.

    One candidate's failure does not stop the others. Reports of earlier calls that nobody collected are recorded first;
    where one covers exactly these candidates under this plan, it is taken instead of measuring again.

    Raises:
        TransportError: the board went away. KeyboardInterrupt: after the job on the board has ended.
    """
    collected = collect(device, store, pending, progress)
    setups, failed = _judge_all(device, candidates, trial, ways, progress)
    if not setups:
        return (), failed
    same = _covered(collected, setups, plan)
    if same:
        progress.note(f"{device.name}: took the report of a measurement that an earlier call left behind")
        return same, failed
    measured = [Measured(candidate.model, candidate.subject) for candidate, _ in setups]
    with ExitStack() as kept:
        report = session.measure_setups(
            device,
            [(candidate.model, way) for candidate, way in setups],
            plan,
            on_start=lambda job_id: kept.enter_context(pending.waiting(job_id, measured)),
            progress=progress,
        )
        rows, unmeasured = _record(device, report, measured, store)
    return rows, (*failed, *unmeasured)


def _judge_all(
    device: Device, candidates: Sequence[Candidate], trial: Trial | None, ways: Sequence[Way], progress: Progress
) -> tuple[list[tuple[Candidate, Way]], tuple[Failed, ...]]:
    """Judge every candidate once for each runtime and delegate: the number of threads does not change its outputs."""
    setups: list[tuple[Candidate, Way]] = []
    failed: list[Failed] = []
    kinds = {(way.runtime, way.delegate): way for way in ways}
    _warn_of_slowness(device, candidates, ways, progress)
    with progress.task(f"{device.name}: checking outputs", len(candidates) * len(kinds)) as task:
        for done, (candidate, (kind, first)) in enumerate(product(candidates, kinds.items())):
            task.update(done, message=candidate.name)
            try:
                judged = _judged(device, candidate, trial, first, progress)
            except (AgentError, RuntimeCompatibilityError) as error:
                failed.append(Failed(device.name, candidate.name, error))
                continue
            setups += [(judged, way) for way in ways if (way.runtime, way.delegate) == kind]
    return setups, tuple(failed)


def _warn_of_slowness(device: Device, candidates: Sequence[Candidate], ways: Sequence[Way], progress: Progress) -> None:
    from edgepress_converters import runtimes

    said = {runtimes.slowness(one.model, way.runtime.name): one.name for one in candidates for way in ways}
    for why, name in said.items():
        if why is not None:
            progress.note(f"{device.name}: {name}: {why}")


def collect(device: Device, store: ResultStore, pending: PendingJobs, progress: Progress) -> tuple[Result, ...]:
    """Record the measurements that earlier calls started on a device and could not take home."""
    rows: list[Result] = []
    for state in device.client.jobs():
        with pending.left_behind(state.job_id) as measured:
            report = session.collect(device, state.job_id, progress) if measured else None
            if measured and report:
                recorded, _ = _record(device, report, measured, store)
                progress.note(f"{device.name}: collected job {state.job_id}, {len(recorded)} rows")
                rows.extend(recorded)
    return tuple(rows)


def judged_value(metric: Metric, outputs: tuple[Array, ...], sample: Split) -> MetricValue:
    """A metric of real-valued outputs on a sample, with its interval."""
    low, high = metric.interval(outputs, sample.targets)
    return MetricValue(metric.compute(outputs, sample.targets), low, high)


def _judged(device: Device, candidate: Candidate, trial: Trial | None, way: Way, progress: Progress) -> Candidate:
    """Push and evaluate a candidate; return it with the board's metric and the level of its output check."""
    require_compatible(candidate.model, way.runtime, device.name)
    goldens = candidate.goldens if trial is None else candidate.goldens.first(len(trial.sample))
    inputs = goldens.inputs
    if trial is not None:
        inputs = tuple(np.concatenate([a, b.astype(a.dtype)]) for a, b in zip(inputs, trial.sample.inputs, strict=True))
    _, outputs = session.evaluate(
        device,
        candidate.model,
        inputs,
        threads=way.threads,
        runtime=way.runtime,
        delegate=way.delegate,
        progress=progress,
    )
    count = len(goldens.inputs[0])
    check = check_outputs(goldens, candidate.model, tuple(array[:count] for array in outputs))
    subject = replace(candidate.subject, output_check=str(check.level), output_check_reason=check.message)
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
        f"{name} {version}"
        for name, version in runtimes.known()
        if not runtimes.incompatibilities(model, name, version)
    ]
    raise RuntimeCompatibilityError(
        f"{model.path.name} needs more than {runtime.name} {runtime.version} on {device} has: {'; '.join(reasons)}. "
        + (f"These can load it: {', '.join(fitting)}. " if fitting else "No known runtime can load it. ")
        + runtimes.remedy(model)
    )


def _record(
    device: Device, report: JobReport, measured: Sequence[Measured], store: ResultStore
) -> tuple[tuple[Result, ...], tuple[Failed, ...]]:
    """Make the rows of a report, store them, and only then let the board forget it.

    Raises:
        ProtocolError: the report is of other models.
    """
    if [run.configuration.model_sha256 for run in report.runs] != [one.model.sha256 for one in measured]:
        raise ProtocolError(f"the report of job {report.job_id} on {device.name} is of other models", device.name)
    rows: list[Result] = []
    failed: list[Failed] = []
    with interrupt_held():  # what was measured is in the table before a Ctrl-C ends the command
        for run, one in zip(report.runs, measured, strict=True):
            try:
                session.require_samples(run, device.name, report)
            except AgentError as error:
                failed.append(Failed(device.name, one.subject.recipe or one.subject.model, error))
                continue
            bound = bound_of(file_cost(one.model.path), device.profile, run.configuration.threads)
            rows.append(result_of_run(run, report, one.model, one.subject, device.name, bound))
            store.models.keep(one.model.path, one.model.sha256)  # before its row: no row without its file
        store.record(rows)
        session.acknowledge(device, report)
    return tuple(rows), tuple(failed)


def _covered(
    rows: Sequence[Result], setups: Sequence[tuple[Candidate, Way]], plan: BenchmarkPlan
) -> tuple[Result, ...]:
    """The collected rows that are what is about to be measured; empty unless they cover all of it."""
    by_setup = {
        (
            (row.model_sha256, row.recipe_id, row.data_sha256, row.metric, row.training_seed),
            (row.runtime, row.runtime_version, row.threads, row.delegate),
        ): row
        for row in rows
        if row.evidence is not None and row.evidence.plan == plan
    }
    wanted = []
    for candidate, way in setups:
        s = candidate.subject
        subject = (candidate.model.sha256, s.recipe_id, s.data_sha256, s.metric, s.training_seed)
        wanted.append((subject, (way.runtime.name, way.runtime.version, way.threads, way.delegate)))
    return tuple(by_setup[key] for key in wanted) if set(wanted) <= set(by_setup) else ()
