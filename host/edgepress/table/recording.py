"""A measured run becomes a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.statistics import summarize
from edgepress.benchmarking.verdict import judge_run
from edgepress.errors import TableError
from edgepress.table.project import DIRTY
from edgepress.table.result import Evidence, Result, content_hash
from edgepress_agent.protocol.codec import to_wire

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import JobReport, RunReport
    from edgepress_converters.model import TFLiteModel

RUNTIME_API = "interpreter"  # what the agent's workers call; LiteRT's CompiledModel would be another key


@dataclass(frozen=True)
class MetricValue:
    """A metric on the test split with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Subject:
    """What was measured, as the workstation knows it.

    Attributes:
        model: name of the Keras model or of the file.
        recipe, recipe_id, compression: None for a file measured as it came; ``compression`` is the report's dictionary.
        metric, metric_higher_is_better, metric_samples, host_metric, board_metric: None without data.
        output_check: level, or None where nothing was compared.
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
    source_sha256: str | None = None
    project: str | None = None


def result_of_run(run: RunReport, job: JobReport, tflite: TFLiteModel, subject: Subject, device: str) -> Result:
    """Build the row of one run of a job.

    Args:
        run: with samples (:func:`edgepress.benchmarking.session.require_samples`).
        job: the report that the run is part of.
        device: the device's name in the inventory.

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
    latency = summarize(run)
    verdict = judge_run(run, job.states)
    facts = job.facts
    memory = [process.memory for process in run.processes]
    host, board = _stated(subject.host_metric), _stated(subject.board_metric)
    return Result(
        model_sha256=tflite.sha256,
        runtime=run.runtime.name,
        runtime_version=run.runtime.version,
        runtime_api=RUNTIME_API,
        delegate=run.configuration.delegate,
        delegate_nodes=run.delegate_nodes,
        threads=run.configuration.threads,
        # A board without serial number and machine id is told from others by the name the user gave it.
        physical_device=facts.physical_id if facts and facts.physical_id else content_hash(["device-name", device]),
        plan=job.plan.name,
        plan_sha256=content_hash(to_wire(job.plan)),
        data_sha256=subject.data_sha256,
        training_seed=subject.training_seed,
        session=job.job_id,
        position=job.runs.index(run),
        model=subject.model,
        recipe=subject.recipe,
        recipe_id=subject.recipe_id,
        device=device,
        tflite_bytes=tflite.size_bytes,
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
        output_check=subject.output_check,
        verdict=str(verdict.name),
        warnings=verdict.warnings,
        emulated=bool(facts and facts.emulated),
        board_model=facts.model if facts else None,
        kernel=facts.kernel if facts else None,
        governor=facts.governor if facts else None,
        agent_version=job.agent_version,
        edgepress_version=version("edgepress"),
        created_unix_ns=job.ended_unix_ns,
        source_sha256=subject.source_sha256,
        cpu_model=facts.cpu_model if facts else None,
        os=" ".join(filter(None, (facts.os_id, facts.os_version))) or None if facts else None,
        libc=facts.libc if facts else None,
        python_version=run.runtime.python_version,
        numpy_version=run.runtime.numpy_version,
        project_commit=subject.project.removesuffix(DIRTY) if subject.project else None,
        project_dirty=subject.project.endswith(DIRTY) if subject.project else None,
        evidence=Evidence(run, job.plan, facts, job.states, subject.compression),
    )


@dataclass(frozen=True)
class _Stated:
    value: float | None = None
    low: float | None = None
    high: float | None = None


def _stated(metric: MetricValue | None) -> _Stated:
    """A metric without the numbers that are none: outputs of NaN have no error to state."""
    if metric is None:
        return _Stated()
    return _Stated(*(number if math.isfinite(number) else None for number in (metric.value, metric.low, metric.high)))
