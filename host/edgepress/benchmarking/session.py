"""A measurement on a device, from pushing the models to the report.

A job belongs to the board from the moment it starts: it goes on when the link drops, and its report stays there until
it is acknowledged. Whoever calls :func:`measure` records the report first and calls :func:`acknowledge` then; a report
that nobody recorded is found by :func:`collect`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.plans import duration_bounds_s
from edgepress.devices.jobs import requester, run_job
from edgepress.errors import AgentError, JobError, ProtocolError
from edgepress.progress import Progress, Silent
from edgepress.transport.agent_errors import agent_error
from edgepress.transport.base import printable
from edgepress_agent.protocol.messages import BenchmarkPlan, Configuration, JobReport, JobSpec, Runtime
from edgepress_agent.protocol.tensors import decode_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress.devices.device import Device
    from edgepress_agent.protocol.messages import EvaluateReport, Failure, RunReport
    from edgepress_converters.model import TFLiteModel

    Array = NDArray[Any]

OUTPUTS_FILE = "outputs.npys"
LOG_FILE = "job.log"
LOG_END_BYTES = 1000


@dataclass(frozen=True)
class Way:
    """How a model is run: ``delegate`` is "default" (what the runtime does by itself, XNNPACK) or "none"."""

    runtime: Runtime
    threads: int = 1
    delegate: str = "default"

    def __str__(self) -> str:
        without = " without delegate" if self.delegate == "none" else ""
        return f"{self.runtime.name} {self.runtime.version}{without}, {self.threads} thread{'s' * (self.threads > 1)}"


def measure(
    device: Device,
    models: Sequence[TFLiteModel],
    plan: BenchmarkPlan,
    *,
    threads: int = 1,
    runtime: Runtime | None = None,
    on_start: Callable[[str], object] | None = None,
    progress: Progress | None = None,
) -> JobReport:
    """Measure models on a device in one job, their worker processes interleaved.

    Pushes what the device does not have yet, waits for the board if somebody else holds it, and returns the report with
    one run per model, in their order. A run may have failed while others did not: :func:`require_samples` tells.

    Args:
        threads: of the interpreter.
        runtime: one of ``device.runtimes``; the device's choice when left out.
        on_start: is given the job's id before anything else happens to it, also before a Ctrl-C: whoever keeps it can
            :func:`collect` the report after the link or this program was lost.

    Raises:
        AgentError: no model gave a sample, or somebody cancelled the job; the subclass says why.
        LinkLostError: the connection ended; the job goes on, its id is in the message.
        ProtocolError: the report is not of the configurations that were asked for.
        KeyboardInterrupt: after the job was cancelled and has ended.
    """
    way = Way(runtime or device.runtime(), threads)
    return measure_setups(device, [(model, way) for model in models], plan, on_start=on_start, progress=progress)


def measure_setups(
    device: Device,
    setups: Sequence[tuple[TFLiteModel, Way]],
    plan: BenchmarkPlan,
    *,
    on_start: Callable[[str], object] | None = None,
    progress: Progress | None = None,
) -> JobReport:
    """Measure models, each in a way of its own, in one interleaved job; see :func:`measure`.

    The same setup may stand there twice: an A/A comparison.
    """
    shown = progress or Silent()
    for model in {model.sha256: model for model, _ in setups}.values():
        _push(device, model, shown)
    spec = JobSpec(
        kind="benchmark",
        requested_by=requester(),
        configurations=tuple(_configuration(model, way) for model, way in setups),
        plan=plan,
        set_governor=device.config.allow_sudo,
    )
    if plan.target_half_width is not None:
        least, most = duration_bounds_s(plan, len(setups))
        shown.note(
            f"{device.name}: {plan.processes} to {plan.max_processes} processes for each of {len(setups)} "
            f"configurations, until the median is known to ±{plan.target_half_width:.0%}: {least:.0f} s at least, "
            f"{most / 60:.0f} min at most"
        )
    report = run_job(device, spec, f"measuring on {device.name}", shown, on_start)
    if not _is_result(report):
        raise _given_up(device, report)
    if tuple(run.configuration for run in report.runs) != spec.configurations:
        raise ProtocolError(
            f"job {report.job_id} on {device.name} was to measure {len(spec.configurations)} configurations; its "
            f"report is of {len(report.runs)} others",
            device.name,
        )
    if plan.target_half_width is not None:
        for (model, _), run in zip(setups, report.runs, strict=True):
            reached = "an unknown width" if run.half_width is None else f"±{run.half_width:.1%}"
            shown.note(f"{model.path.name}: {reached} after {len(run.processes)} processes")
    return report


def evaluate(
    device: Device,
    model: TFLiteModel,
    inputs: tuple[Array, ...],
    *,
    threads: int = 1,
    runtime: Runtime | None = None,
    delegate: str = "default",
    progress: Progress | None = None,
) -> tuple[EvaluateReport, tuple[Array, ...]]:
    """Run a model on inputs on the device and bring its outputs back.

    The job is acknowledged at once: its outputs are in the caller's hands, and asking again is cheap.

    Args:
        inputs: one float array per model input, in model order, each (n, ...), as the Keras model takes them; the agent
            quantizes them.

    Returns:
        the report, and the raw outputs (not dequantized) in model order, each (n, ...).

    Raises:
        AgentError: the job did not end well; the subclass says why.
        LinkLostError: the connection ended; the job goes on, its id is in the message.
        ProtocolError: what came back is not what the report announces.
    """
    from edgepress.deployment.content import push_inputs

    shown = progress or Silent()
    chosen = runtime or device.runtime()
    _push(device, model, shown)
    spec = JobSpec(
        kind="evaluate",
        requested_by=requester(),
        configurations=(_configuration(model, Way(chosen, threads, delegate)),),
        inputs_sha256=push_inputs(device, inputs, shown),
        input_positions=tuple(tensor.position for tensor in model.inputs),
        output_positions=tuple(tensor.position for tensor in model.outputs),
    )
    report = run_job(device, spec, f"evaluating on {device.name}", shown)
    if report.evaluation is None:
        raise _given_up(device, report)
    blob = device.client.fetch(report.job_id, OUTPUTS_FILE)
    outputs = _outputs(device, report.evaluation, blob)
    acknowledge(device, report)
    return report.evaluation, outputs


def require_samples(run: RunReport, device: str, job: JobReport | None = None) -> RunReport:
    """Return a run that has samples.

    Args:
        job: the report that the run is part of; it says why where none of the run's processes was started.

    Raises:
        ModelKilledWorkerError, ModelRejectedError, JobError: no process finished; the first one's reason, or the job's.
    """
    if any(process.samples_ns for process in run.processes):
        return run
    what = f"no process of model {run.configuration.model_sha256[:12]} finished"
    job_id = job.job_id if job else ""
    failures = [*run.failures, *([job.failure] if job and job.failure else [])]
    if not failures:
        raise JobError(f"{device}: {what}, and the agent does not say why", device, job_id=job_id)
    raise _failure_error(what, failures[0], device, job_id)


def collect(device: Device, job_id: str, progress: Progress | None = None) -> JobReport | None:
    """Return the report of a benchmark job that was left behind, after waiting for its end where it still runs.

    Record it, then :func:`acknowledge` it. None: it left no sample or was cancelled, and the board has forgotten it.
    """
    with (progress or Silent()).task(f"waiting for job {job_id} on {device.name}") as task:
        device.client.wait(job_id, task)
    report = device.client.report(job_id)
    if _is_result(report):
        return report
    acknowledge(device, report)
    return None


def acknowledge(device: Device, report: JobReport) -> None:
    """Tell the board that a report is safe: it deletes the job."""
    device.client.acknowledge(report.job_id)


def _push(device: Device, model: TFLiteModel, progress: Progress) -> None:
    from edgepress.deployment.content import push_model

    push_model(device, model, progress)


def _configuration(model: TFLiteModel, way: Way) -> Configuration:
    return Configuration(model.sha256, way.runtime.name, way.runtime.version, way.threads, way.delegate)


def _is_result(report: JobReport) -> bool:
    """Whether rows can be made of a report. One that was cut short by its deadline is one, and its rows say so."""
    return report.status != "cancelled" and any(process.samples_ns for run in report.runs for process in run.processes)


def _given_up(device: Device, report: JobReport) -> AgentError:
    """Let the board forget a job without a result, and return the error that says all that is known of it."""
    what = f"job {report.job_id} {report.status} without a result"
    failures = [failure for run in report.runs for failure in run.failures]
    if report.failure is not None:
        failures.insert(0, report.failure)
    error = (
        _failure_error(what, failures[0], device.name, report.job_id)
        if failures
        else JobError(f"{device.name}: {what}", device.name, job_id=report.job_id)
    )
    if error.code == "internal":  # nobody foresaw it: what the job's process said last is all there is
        error.args = (f"{error}. The end of its log: {_end_of_log(device, report.job_id)}",)
    acknowledge(device, report)
    return error


def _end_of_log(device: Device, job_id: str) -> str:
    try:
        log = device.client.fetch(job_id, LOG_FILE)
    except AgentError as error:
        return f"not to be had ({error})"
    lines = log[-LOG_END_BYTES:].decode(errors="replace").splitlines()
    return printable(" | ".join(line.strip() for line in lines if line.strip())) or "empty"


def _failure_error(what: str, failure: Failure, device: str, job_id: str) -> AgentError:
    return agent_error(replace(failure, message=f"{what}: {failure.message}"), device, job_id)


def _outputs(device: Device, evaluation: EvaluateReport, blob: bytes) -> tuple[Array, ...]:
    if hashlib.sha256(blob).hexdigest() != evaluation.outputs_sha256:
        raise ProtocolError(f"{OUTPUTS_FILE} from {device.name} has another hash than its report says", device.name)
    try:
        outputs = decode_arrays(blob)
    except ValueError as error:
        raise ProtocolError(f"{OUTPUTS_FILE} from {device.name}: {error}", device.name) from error
    if any(array.shape[:1] != (evaluation.samples,) for array in outputs):
        raise ProtocolError(
            f"{OUTPUTS_FILE} from {device.name} should hold {evaluation.samples} samples per output; got shapes "
            f"{[array.shape for array in outputs]}",
            device.name,
        )
    return outputs
