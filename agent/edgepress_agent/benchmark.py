"""Job kind "benchmark": fresh processes for each configuration, interleaved in a seeded random order.

Processes differ more from each other than inferences within one (ASLR, page colouring), and a board drifts while it is
measured: interleaving lets every configuration meet the same drift (random interleaving, google/benchmark #1051).
"""

from __future__ import annotations

import os
import random
import time
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from edgepress_agent import governor
from edgepress_agent.affinity import split_cpus
from edgepress_agent.board_state import read_board_state, read_temperature_c
from edgepress_agent.faults import Fault
from edgepress_agent.measurement_warnings import warnings_of
from edgepress_agent.monitor import Budget, Monitor, Probe
from edgepress_agent.protocol.intervals import half_width
from edgepress_agent.protocol.messages import (
    BenchmarkPlan,
    BoardState,
    Configuration,
    Failure,
    MeasurementWarning,
    Phases,
    ProcessRun,
    RunReport,
    Runtime,
)
from edgepress_agent.running_job import RunningJob
from edgepress_agent.worker_task import Task, WorkerResult

COOL_DOWN_POLL_S = 2.0


def interleaved(
    configurations: int, processes: int, seed: Union[int, str], more: Callable[[int], Sequence[int]] = lambda _: ()
) -> Iterator[Tuple[int, int]]:
    """Yield the order of a session as pairs (round, configuration): each round has every configuration once.

    Args:
        more: asked after ``processes`` rounds, with the number of the next one: the configurations that it shall have.
            It ends with the first round that nobody needs.
    """
    generator = random.Random(seed)  # noqa: S311 - an order, not a secret  # nosec B311
    round_, indices = 0, list(range(configurations))
    while indices:
        generator.shuffle(indices)
        for index in indices:
            yield round_, index
        round_ += 1
        indices = list(range(configurations)) if round_ < processes else list(more(round_))


def order_seed(plan: BenchmarkPlan, job_id: str) -> str:
    """Return what the order of a job is drawn from: no two jobs of a plan have one, and a report tells its own."""
    return f"{plan.seed} {job_id}"


def run(job: RunningJob) -> None:
    """Measure the configurations of ``job.spec``; what was measured is in ``job.findings`` also when this raises.

    Raises:
        Fault: "no-runtime" or "not-found" before anything ran; "deadline" when the job's time is over.
    """
    plan = job.spec.plan
    assert plan is not None  # checked when the job was started
    budget = Budget()
    sessions = [_Session(job, plan, configuration, budget) for configuration in job.spec.configurations]
    if not job.spec.set_governor:
        _measure(job, plan, sessions, [])
        return
    try:
        failure = governor.set_performance(job.home, job.home.system)
        _measure(job, plan, sessions, [] if failure is None else [_not_set(failure)])
    finally:
        failure = governor.undo(job.home, job.home.system)
        if failure is not None:
            job.log(f"the governor could not be put back: {failure}; the next start of the agent tries again")


def _not_set(failure: str) -> MeasurementWarning:
    return MeasurementWarning("governor-not-set", f"the governor could not be set: {failure}", {})


def _measure(
    job: RunningJob, plan: BenchmarkPlan, sessions: Sequence[_Session], notes: List[MeasurementWarning]
) -> None:
    states = job.findings.states
    system = job.home.system
    cool_down = _CoolDown(job, plan)
    most = plan.processes if plan.target_half_width is None else max(plan.processes, plan.max_processes or 0)
    total = most * len(sessions)

    def unsettled(round_: int) -> Sequence[int]:
        if round_ >= most or job.seconds_left(plan.job_deadline_s) <= 0:
            return ()
        return [index for index, session in enumerate(sessions) if not session.is_settled()]

    states.append(read_board_state(system, sessions[0].cpus))
    try:
        order = interleaved(len(sessions), plan.processes, order_seed(plan, job.folder.job_id), unsettled)
        for position, (round_, index) in enumerate(order):
            cool_down.wait(position, total)
            job.progress(position, total, f"process {position + 1} of {'at most ' * (most > plan.processes)}{total}")
            left = job.seconds_left(plan.job_deadline_s)
            if left <= 0:
                raise Fault("deadline", f"the job's {plan.job_deadline_s:g} s are over after {position} processes")
            sessions[index].measure(round_, position, min(plan.process_deadline_s, left))
            states.append(read_board_state(system, sessions[index].cpus))
            sessions[index].states += states[-2:]
        job.progress(total, total, "measured")
    finally:
        if cool_down.hottest_c is not None:
            notes.append(
                MeasurementWarning(
                    "started-hot",
                    f"the CPU was still at {cool_down.hottest_c:.1f} C when a process started; the plan waits for "
                    f"{plan.cool_to_c:.0f} C, {plan.cool_down_max_s:.0f} s at most",
                    {"temperature_c": cool_down.hottest_c},
                )
            )
        job.findings.runs += [session.report(states[0], notes) for session in sessions]


class _CoolDown:
    """The gate before each process: it opens when the CPU is cool, or when the job's time for waiting is over."""

    def __init__(self, job: RunningJob, plan: BenchmarkPlan) -> None:
        self._job = job
        self._plan = plan
        self._left_s = plan.cool_down_max_s
        self.hottest_c: Optional[float] = None  # at which a process was started nevertheless

    def wait(self, done: int, total: int) -> None:
        limit = self._plan.cool_to_c
        if limit is None:
            return
        begun = time.monotonic()
        while True:
            temperature = read_temperature_c(self._job.home.system)
            if temperature is None or temperature <= limit:
                break
            if time.monotonic() - begun >= self._left_s:
                self.hottest_c = max(temperature, self.hottest_c or temperature)
                break
            self._job.progress(done, total, f"waits until the CPU has cooled from {temperature:.0f} to {limit:.0f} C")
            time.sleep(min(COOL_DOWN_POLL_S, self._left_s))
        self._left_s = max(0.0, self._left_s - (time.monotonic() - begun))


class _Session:
    """One configuration through the whole job."""

    def __init__(self, job: RunningJob, plan: BenchmarkPlan, configuration: Configuration, budget: Budget) -> None:
        self._job = job
        self._plan = plan
        self._configuration = configuration
        self._runtime: Runtime = job.runtime(configuration)
        self.cpus, self._other_cpus = split_cpus(configuration.threads, job.home.system) if plan.pinned else ((), ())
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
            cpus=self.cpus,
        )
        self._probe = Probe(job.home.system, self.cpus)
        self._budget = budget
        self._results: Dict[int, WorkerResult] = {}
        self._processes: List[ProcessRun] = []
        self._failures: List[Failure] = []
        self.states: List[BoardState] = []  # before and after each of its processes

    def measure(self, index: int, order: int, deadline_s: float) -> None:
        started = time.time_ns()
        if self._other_cpus:
            os.sched_setaffinity(0, self._other_cpus)
        watch = Monitor(self._probe, self._budget)
        try:
            result = self._job.work(self._runtime, self._task, deadline_s, watch)
        except Fault as fault:
            self._failures.append(fault.failure)
            return
        readings = watch.end()
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
                steady=result.steady,
                sentinel_ns=result.sentinel_ns,
                blocks=result.blocks,
                readings=readings,
                cpus=self.cpus,
                monitor_cpu_ns=watch.cpu_ns,
                monitored_ns=watch.watched_ns,
            )
        )

    def is_settled(self) -> bool:
        """Whether the interval of the median is as narrow as the plan wants it, or no process ever finishes."""
        target = self._plan.target_half_width
        if target is None or not self._processes:
            return True
        reached = self._half_width()
        return reached is not None and reached <= target

    def report(self, at_start: BoardState, notes: Sequence[MeasurementWarning]) -> RunReport:
        any_result = next(iter(self._results.values()), None)
        return RunReport(
            configuration=self._configuration,
            runtime=self._runtime,
            delegate_nodes=any_result.delegate_nodes if any_result else 0,
            operator_nodes=any_result.operator_nodes if any_result else 0,
            processes=tuple(self._processes),
            failures=tuple(self._failures),
            warnings=(
                *notes,
                *warnings_of(
                    self._processes,
                    [at_start, *self.states],
                    cpu_count=self._job.facts.cpu_count,
                    peaks_were_reset=all(result.peak_was_reset for result in self._results.values()),
                ),
            ),
            half_width=self._half_width() if self._plan.target_half_width is not None else None,
        )

    def _half_width(self) -> Optional[float]:
        return half_width([_median(process.samples_ns) for process in self._processes])


def _median(samples: Sequence[int]) -> int:
    return sorted(samples)[(len(samples) - 1) // 2]
