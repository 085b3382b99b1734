"""A measured run becomes a row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.interference import find_interference, fixed_clock_hz
from edgepress.benchmarking.roofline import Bound, roofline_share
from edgepress.benchmarking.statistics import summarize
from edgepress.benchmarking.verdict import judge_run
from edgepress.errors import TableError
from edgepress.table.project import DIRTY
from edgepress.table.result import Evidence, Provenance, Result, content_hash, physical_device_of
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.messages import MeasurementWarning

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BenchmarkPlan, JobReport, ProcessRun, Reading, RunReport
    from edgepress_converters.model import TFLiteModel

# RULES history. A change in what a row says of the same evidence needs a line, and the fields that it may change:
#   1  first numbered. Power had been read after the load as well, rows of jobs that were cut short had not said so, and
#      sentences of warnings had been others
CHANGED_BY = {1: frozenset({"energy_per_run_j", "warnings"})}
RULES = max(CHANGED_BY)
RUNTIME_API = "interpreter"  # what the agent's workers call; LiteRT's CompiledModel would be another key


@dataclass(frozen=True)
class MetricValue:
    """A metric on the test split with its 95 % interval; None: it is no number, as the error of outputs of NaN."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Subject:
    """What was measured, as the workstation knows it.

    Attributes:
        model: name of the Keras model or of the file.
        recipe, recipe_id, compression: None for a file measured as it came; ``compression`` is the report's dictionary.
        metric, metric_higher_is_better, metric_samples, host_metric, board_metric: None without data.
        output_check, output_check_reason: level, and the sentence that says why; None where nothing was compared.
        source_sha256: of the Keras model.
        project: git commit of the user's project, as :func:`edgepress.table.project.project_state` names it.
    """

    model: str
    recipe: str | None = None
    recipe_id: str | None = None
    compression: dict[str, Any] | None = None
    data_sha256: str | None = None
    training_seed: int | None = None
    metric: str | None = None
    metric_higher_is_better: bool | None = None
    metric_samples: int | None = None
    host_metric: MetricValue | None = None
    board_metric: MetricValue | None = None
    output_check: str | None = None
    output_check_reason: str | None = None
    source_sha256: str | None = None
    project: str | None = None


def result_of_run(
    run: RunReport, job: JobReport, tflite: TFLiteModel, subject: Subject, device: str, bound: Bound | None = None
) -> Result:
    """Build the row of one run of a job.

    Args:
        run: with samples (:func:`edgepress.benchmarking.session.require_samples`).
        job: the report that the run is part of.
        device: the device's name in the inventory.
        bound: how fast the device's profile says that the model can be at best.

    Raises:
        TableError: the run measured another file than ``tflite``, is not of this job, or the job has no plan.
    """
    if run.configuration.model_sha256 != tflite.sha256:
        raise TableError(
            f"the run measured {run.configuration.model_sha256[:12]}, the row is to be of {tflite.path} "
            f"({tflite.sha256[:12]})"
        )
    if run not in job.runs:
        raise TableError(f"job {job.job_id} has no such run of {tflite.path}")
    if job.plan is None:
        raise TableError(f"job {job.job_id} of kind {job.kind} has no plan: it measured nothing that a row could hold")
    stated = replace(
        subject, compression=None, host_metric=_finite(subject.host_metric), board_metric=_finite(subject.board_metric)
    )
    kept = {name: value for name, value in asdict(stated).items() if name != "compression"}
    provenance = Provenance(
        session=job.job_id,
        position=next(index for index, other in enumerate(job.runs) if other is run or other == run),
        device=device,
        agent_version=job.agent_version,
        edgepress_version=version("edgepress"),
        created_unix_ns=job.ended_unix_ns,
        tflite_bytes=tflite.size_bytes,
        has_int8="INT8" in dict(tflite.tensor_types),
        bound_ns=bound.latency_ns if bound else None,
        bound_is_measured=bound.is_measured if bound else None,
        bound_reason=bound.reason if bound else None,
        subject=kept,
        rules=RULES,
    )
    return derive(Evidence(run, job.plan, job.facts, job.states, subject.compression, provenance))


def derive(evidence: Evidence) -> Result:
    """Return the row that evidence makes: always the same one.

    Raises:
        TableError: it is from before the provenance was kept.
    """
    known = evidence.provenance
    if known is None:
        raise TableError("the row is older than the evidence from which rows can be derived again")
    run, facts = evidence.run, evidence.facts
    subject = _subject(known.subject, evidence.compression)
    bound = Bound(known.bound_ns, bool(known.bound_is_measured), known.bound_reason or "") if known.bound_ns else None
    max_hz = fixed_clock_hz(facts)
    interference = find_interference(run, evidence.states, max_hz)
    latency = summarize(run, interference=interference)
    verdict = judge_run(run, evidence.states, bound, max_hz)
    memory = [process.memory for process in run.processes]
    host, board = subject.host_metric or MetricValue(), subject.board_metric or MetricValue()
    return Result(
        model_sha256=run.configuration.model_sha256,
        runtime=run.runtime.name,
        runtime_version=run.runtime.version,
        runtime_api=RUNTIME_API,
        delegate=run.configuration.delegate,
        delegate_nodes=run.delegate_nodes,
        threads=run.configuration.threads,
        physical_device=physical_device_of(facts, known.device),
        plan=evidence.plan.name,
        plan_sha256=plan_hash(evidence.plan),
        data_sha256=subject.data_sha256,
        training_seed=subject.training_seed,
        session=known.session,
        position=known.position,
        model=subject.model,
        recipe=subject.recipe,
        recipe_id=subject.recipe_id,
        device=known.device,
        tflite_bytes=known.tflite_bytes,
        metric=subject.metric,
        metric_higher_is_better=subject.metric_higher_is_better,
        metric_samples=subject.metric_samples,
        metric_value_host=host.value,
        metric_low_host=host.low,
        metric_high_host=host.high,
        metric_value_board=board.value,
        metric_low_board=board.low,
        metric_high_board=board.high,
        samples=latency.samples,
        processes=latency.processes,
        latency_min_ns=latency.min_ns,
        latency_p50_ns=latency.p50_ns,
        latency_p50_low_ns=latency.p50_low_ns,
        latency_p50_high_ns=latency.p50_high_ns,
        latency_p90_ns=latency.p90_ns,
        latency_p95_ns=latency.p95_ns,
        latency_p95_low_ns=latency.p95_low_ns,
        latency_p95_high_ns=latency.p95_high_ns,
        latency_p99_ns=latency.p99_ns,
        latency_max_ns=latency.max_ns,
        process_spread=latency.process_spread,
        peak_rss_bytes=max(process.peak_rss_bytes for process in memory),
        model_rss_bytes=max(process.peak_rss_bytes - process.import_rss_bytes for process in memory),
        pss_bytes=max((process.pss_bytes for process in memory if process.pss_bytes is not None), default=None),
        file_bytes=max((process.file_bytes for process in memory if process.file_bytes is not None), default=None),
        swap_bytes=max(process.swap_bytes for process in memory),
        excluded_share=interference.share if interference.is_excluded else 0.0 if interference.blocks else None,
        roofline_share=roofline_share(bound, latency.p50_ns),
        retention=latency.retention,
        energy_per_run_j=_energy_j(run, latency.p50_ns),
        output_check=subject.output_check,
        verdict=str(verdict.name),
        warnings=(
            *verdict.warnings,
            *_shortfall(run, evidence.plan),
            *_delegation(run, known),
            *_disagreement(subject),
        ),
        emulated=bool(facts and facts.emulated),
        board_model=facts.model if facts else None,
        kernel=facts.kernel if facts else None,
        governor=facts.governor if facts else None,
        agent_version=known.agent_version,
        edgepress_version=known.edgepress_version,
        created_unix_ns=known.created_unix_ns,
        source_sha256=subject.source_sha256,
        cpu_model=facts.cpu_model if facts else None,
        os=" ".join(filter(None, (facts.os_id, facts.os_version))) or None if facts else None,
        libc=facts.libc if facts else None,
        python_version=run.runtime.python_version,
        numpy_version=run.runtime.numpy_version,
        project_commit=subject.project.removesuffix(DIRTY) if subject.project else None,
        project_dirty=subject.project.endswith(DIRTY) if subject.project else None,
        evidence=evidence,
    )


def plan_hash(plan: BenchmarkPlan) -> str:
    """Return the hash of a plan's numbers. What later versions added counts only where it is used: the hash of an older
    plan stays what it was."""
    optional = [field for field in fields(plan) if field.default is not MISSING]
    unused = {field.name for field in optional if getattr(plan, field.name) == field.default}
    return content_hash({name: value for name, value in to_wire(plan).items() if name not in unused})


def _subject(values: dict[str, Any], compression: dict[str, Any] | None) -> Subject:
    metrics = {
        name: MetricValue(**values[name]) if values[name] is not None else None
        for name in ("host_metric", "board_metric")
    }
    return Subject(**{**values, **metrics, "compression": compression})


def _energy_j(run: RunReport, latency_ns: int) -> float | None:
    watts = [
        reading.power_w
        for process in run.processes
        for reading in process.readings
        if reading.power_w is not None and not _is_after_the_load(reading, process)
    ]
    return sum(watts) / len(watts) * latency_ns / 1e9 if watts else None


def _is_after_the_load(reading: Reading, process: ProcessRun) -> bool:
    return bool(process.blocks) and reading.taken_ns > process.blocks[-1].ended_ns


def _shortfall(run: RunReport, plan: BenchmarkPlan) -> Iterator[MeasurementWarning]:
    """What a job leaves out that is over before its plan is."""
    started = len(run.processes) + len(run.failures)
    if started < plan.processes:
        yield MeasurementWarning(
            "cut-short",
            f"{started} of {plan.processes} worker processes were started before the job was over: measure fewer "
            "configurations at once, or with a shorter plan",
            {"started": started, "planned": plan.processes},
        )


def _delegation(run: RunReport, known: Provenance) -> Iterator[MeasurementWarning]:
    if known.has_int8 and run.configuration.delegate == "default" and run.delegate_nodes == 0:
        yield MeasurementWarning(
            "int8-without-delegate",
            f"{run.runtime.name} {run.runtime.version} did not hand int8 operators to XNNPACK, whose float32 kernels "
            "it uses: a comparison of int8 with float32 compares two libraries. ai-edge-litert does (`edgepress device "
            "provision NAME --runtime ai-edge-litert`)",
            {"delegate_nodes": 0},
        )


def _disagreement(subject: Subject) -> Iterator[MeasurementWarning]:
    """Why outputs are wrong, or differ and may."""
    code = {"as good": "outputs-as-good", "wrong": "outputs-wrong"}.get(subject.output_check or "")
    if code is not None and subject.output_check_reason is not None:
        yield MeasurementWarning(code, subject.output_check_reason)


def _finite(metric: MetricValue | None) -> MetricValue | None:
    """A metric without the numbers that are none, which JSON could not keep."""
    if metric is None:
        return None
    numbers = (metric.value, metric.low, metric.high)
    return MetricValue(*(number if number is not None and math.isfinite(number) else None for number in numbers))
