"""A measurement on a device, from pushing the models to the report.

A job belongs to the board from the moment it starts: it goes on when the link drops, and its report stays there until
it is acknowledged. Whoever calls :func:`measure` records the report first and calls :func:`acknowledge` then; a report
that nobody recorded is found by :func:`collect`.
"""

from __future__ import annotations

import getpass
import hashlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgepress.errors import (
    AgentError,
    DeviceError,
    JobError,
    LinkLostError,
    ModelKilledWorkerError,
    ProtocolError,
)
from edgepress.progress import Progress, Silent
from edgepress.transport.base import printable
from edgepress_agent.protocol.messages import BenchmarkPlan, Configuration, JobReport, JobSpec, Runtime
from edgepress_agent.protocol.tensors import decode_arrays

if TYPE_CHECKING:
    from types import FrameType

    from numpy.typing import NDArray

    from edgepress.devices.device import Device
    from edgepress_agent.protocol.messages import EvaluateReport, Failure, JobState, RunReport
    from edgepress_converters.model import TFLiteModel

    Array = NDArray[Any]

OUTPUTS_FILE = "outputs.npys"
LOG_FILE = "job.log"
LOG_END_BYTES = 1000


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
        ModelKilledWorkerError, JobError: no model gave a sample.
        LinkLostError: the connection ended; the job goes on, its id is in the message.
        ProtocolError: the report is not of the configurations that were asked for.
        KeyboardInterrupt: after the job was cancelled and has ended.
    """
    shown = progress or Silent()
    chosen = runtime or device.runtime()
    for model in models:
        _push(device, model, shown)
    spec = JobSpec(
        kind="benchmark",
        requested_by=requester(),
        configurations=tuple(_configuration(model, chosen, threads) for model in models),
        plan=plan,
    )
    report = _run_job(device, spec, f"measuring on {device.name}", shown, on_start)
    if not _has_samples(report):
        raise _given_up(device, report)
    if tuple(run.configuration for run in report.runs) != spec.configurations:
        raise ProtocolError(
            f"job {report.job_id} on {device.name} was to measure {len(spec.configurations)} configurations; its "
            f"report is of {len(report.runs)} others",
            device.name,
        )
    return report


def evaluate(
    device: Device,
    model: TFLiteModel,
    inputs: tuple[Array, ...],
    *,
    threads: int = 1,
    runtime: Runtime | None = None,
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
        ModelKilledWorkerError, JobError: the job did not end well.
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
        configurations=(_configuration(model, chosen, threads),),
        inputs_sha256=push_inputs(device, inputs, shown),
        input_positions=tuple(tensor.position for tensor in model.inputs),
        output_positions=tuple(tensor.position for tensor in model.outputs),
    )
    report = _run_job(device, spec, f"evaluating on {device.name}", shown)
    if report.evaluation is None:
        raise _given_up(device, report)
    blob = device.client.fetch(report.job_id, OUTPUTS_FILE)
    outputs = _outputs(device, report.evaluation, blob)
    acknowledge(device, report)
    return report.evaluation, outputs


def require_samples(run: RunReport, device: str, job_id: str = "") -> RunReport:
    """Return a run that has samples.

    Raises:
        ModelKilledWorkerError: no process finished, the first was killed by a signal.
        JobError: no process finished, for another reason.
    """
    if any(process.samples_ns for process in run.processes):
        return run
    what = f"no process of model {run.configuration.model_sha256[:12]} finished on {device}"
    if not run.failures:
        raise JobError(f"{what}, and the agent does not say why", device, job_id=job_id)
    raise _failure_error(what, run.failures[0], device, job_id)


def collect(device: Device, job_id: str, progress: Progress | None = None) -> JobReport | None:
    """Return the report of a benchmark job that was left behind, after waiting for its end where it still runs.

    Record it, then :func:`acknowledge` it. None: it left no sample, and the board has forgotten it.
    """
    with (progress or Silent()).task(f"waiting for job {job_id} on {device.name}") as task:
        device.client.wait(job_id, task)
    report = device.client.report(job_id)
    if report.status != "cancelled" and _has_samples(report):
        return report
    acknowledge(device, report)
    return None


def acknowledge(device: Device, report: JobReport) -> None:
    """Tell the board that a report is safe: it deletes the job."""
    device.client.acknowledge(report.job_id)


def requester() -> str:
    """Who asks, as others who wait for the board see it: ``user@host``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _push(device: Device, model: TFLiteModel, progress: Progress) -> None:
    from edgepress.deployment.content import push_model

    push_model(device, model, progress)


def _configuration(model: TFLiteModel, runtime: Runtime, threads: int) -> Configuration:
    return Configuration(model.sha256, runtime.name, runtime.version, threads)


def _run_job(
    device: Device,
    spec: JobSpec,
    description: str,
    progress: Progress,
    on_start: Callable[[str], object] | None = None,
) -> JobReport:
    state: JobState | None = None
    try:
        with _interrupt_held():
            state = device.client.start(spec)
            if on_start is not None:
                on_start(state.job_id)
        with progress.task(description, float(state.total) or None) as task:
            device.client.wait(state.job_id, task)
        return device.client.report(state.job_id)
    except KeyboardInterrupt as interrupt:
        if state is not None:
            try:
                _cancel(device, state.job_id)
            except DeviceError as error:
                interrupt.add_note(f"job {state.job_id} on {device.name} could not be cancelled: {error}")
        raise
    except LinkLostError as error:
        if state is None:
            raise
        raise LinkLostError(
            f"the connection to {device.name} ended while job {state.job_id} ran ({error}); the job goes on there and "
            "keeps its report: measure on the device again to collect it",
            device.name,
        ) from error


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is through; a second one ends it at once.

    Starting a job takes one exchange with the board. Interrupted in the middle of it, nobody would know the id of the
    job that holds the board from then on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted, and only it may set a signal's action
        return
    arrived = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        if arrived:
            signal.default_int_handler(number, frame)
        arrived = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


def _cancel(device: Device, job_id: str) -> None:
    """End a job that the user no longer wants, and wait until the board is free again."""
    device.client.cancel(job_id)
    device.client.wait(job_id)
    device.client.acknowledge(job_id)


def _has_samples(report: JobReport) -> bool:
    return any(process.samples_ns for run in report.runs for process in run.processes)


def _given_up(device: Device, report: JobReport) -> JobError | ModelKilledWorkerError:
    """Let the board forget a job without a result, and return the error that says all that is known of it."""
    what = f"job {report.job_id} on {device.name} {report.status} without a result"
    failures = [failure for run in report.runs for failure in run.failures]
    if report.failure is not None:
        failures.insert(0, report.failure)
    error = (
        _failure_error(what, failures[0], device.name, report.job_id)
        if failures
        else JobError(what, device.name, job_id=report.job_id)
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


def _failure_error(what: str, failure: Failure, device: str, job_id: str) -> JobError | ModelKilledWorkerError:
    message = f"{what}: {failure.message}"
    if failure.code == "worker-killed":
        return ModelKilledWorkerError(message, device, signal=str(failure.details.get("signal", "")))
    return JobError(message, device, failure.code, job_id)


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
