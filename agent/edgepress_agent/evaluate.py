"""Job kind "evaluate": a model's raw outputs for a file of inputs, one sample after another."""

from __future__ import annotations

from edgepress_agent.durable import sha256_of, sync_directory
from edgepress_agent.job_folder import OUTPUTS
from edgepress_agent.protocol.messages import EvaluateReport
from edgepress_agent.running_job import RunningJob
from edgepress_agent.worker_task import Task


def run(job: RunningJob) -> None:
    """Run the job's one configuration over its inputs; leaves ``outputs.npys`` and ``findings.evaluation``.

    Raises:
        Fault: "no-runtime", "not-found", and whatever the worker says.
    """
    (configuration,) = job.spec.configurations
    assert job.spec.inputs_sha256 is not None  # checked when the job was started
    runtime = job.runtime(configuration)
    unfinished = job.folder.path / f"{OUTPUTS}.part"
    task = Task(
        runtime_name=runtime.name,
        model_path=str(job.content.path(configuration.model_sha256)),
        model_sha256=configuration.model_sha256,
        threads=configuration.threads,
        delegate=configuration.delegate,
        inputs_path=str(job.content.path(job.spec.inputs_sha256)),
        outputs_path=str(unfinished),
        input_positions=job.spec.input_positions,
        output_positions=job.spec.output_positions,
    )
    job.progress(0, 0, "loading")
    result = job.work(runtime, task, job.seconds_left(job.spec.deadline_s))
    outputs = job.folder.path / OUTPUTS
    unfinished.replace(outputs)
    sync_directory(outputs.parent)
    samples = len(result.samples_ns)
    job.progress(samples, samples, "evaluated")
    job.findings.evaluation = EvaluateReport(
        configuration=configuration,
        runtime=runtime,
        delegate_nodes=result.delegate_nodes,
        operator_nodes=result.operator_nodes,
        samples=samples,
        outputs_sha256=sha256_of(outputs),
        latency_ns=result.samples_ns,
        memory=result.memory,
    )
