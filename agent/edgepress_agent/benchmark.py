"""Job kind "benchmark": fresh processes for each configuration, interleaved in a seeded random order.

Processes differ more from each other than inferences within one (ASLR, page colouring), and a board drifts while it is
measured: interleaving lets every configuration meet the same drift (random interleaving, google/benchmark #1051).
"""

from __future__ import annotations

import random
import time
from typing import Dict, List, Tuple

from edgepress_agent.board_state import read_board_state
from edgepress_agent.faults import Fault
from edgepress_agent.measurement_warnings import warnings_of
from edgepress_agent.protocol.messages import (
    BenchmarkPlan,
    BoardState,
    Configuration,
    Failure,
    Phases,
    ProcessRun,
    RunReport,
    Runtime,
)
from edgepress_agent.running_job import RunningJob
from edgepress_agent.worker_task import Task, WorkerResult


def interleaved(configurations: int, processes: int, seed: int) -> List[Tuple[int, int]]:
    """Return the order of a session as pairs (round, configuration): each round has every configuration once."""
    generator = random.Random(seed)  # noqa: S311 - an order, not a secret
    order = []
    for round_ in range(processes):
        indices = list(range(configurations))
        generator.shuffle(indices)
        order += [(round_, index) for index in indices]
    return order


def run(job: RunningJob) -> None:
    """Measure the configurations of ``job.spec``; what was measured is in ``job.findings`` also when this raises.

    Raises:
        Fault: "no-runtime" or "not-found" before anything ran; "deadline" when the job's time is over.
    """
    plan = job.spec.plan
    assert plan is not None  # checked when the job was started
    sessions = [_Session(job, plan, configuration) for configuration in job.spec.configurations]
    states = job.findings.states
    states.append(read_board_state())
    order = interleaved(len(sessions), plan.processes, plan.seed)
    try:
        for position, (round_, index) in enumerate(order):
            job.progress(position, len(order), f"process {position + 1} of {len(order)}")
            left = job.seconds_left(plan.job_deadline_s)
            if left <= 0:
                raise Fault("deadline", f"the job's {plan.job_deadline_s:g} s are over after {position} processes")
            sessions[index].measure(round_, position, min(plan.process_deadline_s, left))
            states.append(read_board_state())
            sessions[index].states += states[-2:]
        job.progress(len(order), len(order), "measured")
    finally:
        job.findings.runs += [session.report(states[0]) for session in sessions]


class _Session:
    """One configuration through the whole job."""

    def __init__(self, job: RunningJob, plan: BenchmarkPlan, configuration: Configuration) -> None:
        self._job = job
        self._configuration = configuration
        self._runtime: Runtime = job.runtime(configuration)
        self._task = Task(
            runtime_name=self._runtime.name,
            model_path=str(job.content.path(configuration.model_sha256)),
            model_sha256=configuration.model_sha256,
            threads=configuration.threads,
            delegate=configuration.delegate,
            seed=plan.seed,
            plan=plan,
            inputs_path=str(job.content.path(job.spec.inputs_sha256)) if job.spec.inputs_sha256 else None,
            input_positions=job.spec.input_positions,
            output_positions=job.spec.output_positions,
        )
        self._results: Dict[int, WorkerResult] = {}
        self._processes: List[ProcessRun] = []
        self._failures: List[Failure] = []
        self.states: List[BoardState] = []  # before and after each of its processes

    def measure(self, index: int, order: int, deadline_s: float) -> None:
        started = time.time_ns()
        try:
            result = self._job.work(self._runtime, self._task, deadline_s)
        except Fault as fault:
            self._failures.append(fault.failure)
            return
        self._results[index] = result
        self._processes.append(
            ProcessRun(
                index=index,
                order=order,
                started_unix_ns=started,
                phases=Phases(
                    spawn_ns=result.spawn_ns,
                    import_ns=result.import_ns,
                    load_ns=result.load_ns,
                    allocate_ns=result.allocate_ns,
                    first_ns=result.first_ns,
                ),
                warmup_ns=result.warmup_ns,
                samples_ns=result.samples_ns,
                memory=result.memory,
                involuntary_switches=result.involuntary_switches,
                major_faults=result.major_faults,
            )
        )

    def report(self, at_start: BoardState) -> RunReport:
        any_result = next(iter(self._results.values()), None)
        return RunReport(
            configuration=self._configuration,
            runtime=self._runtime,
            delegate_nodes=any_result.delegate_nodes if any_result else 0,
            operator_nodes=any_result.operator_nodes if any_result else 0,
            processes=tuple(self._processes),
            failures=tuple(self._failures),
            warnings=warnings_of(
                self._processes,
                [at_start, *self.states],
                cpu_count=self._job.facts.cpu_count,
                peaks_were_reset=all(result.peak_was_reset for result in self._results.values()),
            ),
        )
