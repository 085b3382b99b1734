from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.benchmark import interleaved, order_seed
from edgepress_agent.benchmark import run as run_benchmark
from edgepress_agent.facts import read_facts
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.job_folder import JobFolder, first_state
from edgepress_agent.protocol.messages import JobReport, Runtime
from edgepress_agent.protocol.tensors import encode_arrays
from edgepress_agent.running_job import Findings, RunningJob
from edgepress_agent.worker_process import Watch
from edgepress_agent.worker_task import Task, WorkerResult
from support.agent_process import MODELS, QUICK, AgentProcess, benchmark, configuration
from support.made_up_board import make_board


@given(st.integers(1, 6), st.integers(1, 6), st.integers())
def test_every_round_has_every_configuration_once(configurations: int, processes: int, seed: int) -> None:
    order = list(interleaved(configurations, processes, seed))
    assert [round_ for round_, _ in order] == sorted([*range(processes)] * configurations)
    assert Counter(order) == Counter((round_, index) for round_ in range(processes) for index in range(configurations))
    assert order == list(interleaved(configurations, processes, seed))


def test_the_order_within_a_round_depends_on_the_seed() -> None:
    assert len({tuple(interleaved(4, 3, seed)) for seed in range(10)}) > 5


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> JobReport:
    """Two models, one of them also without its delegate, measured in one job."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "home").mkdir()
    with AgentProcess(folder / "home", folder / "board.lock") as agent:
        dense, conv = agent.push_model("dense_float32.tflite"), agent.push_model("conv_int8.tflite")
        return agent.run(
            benchmark(configuration(dense, threads=2), configuration(conv), configuration(conv, delegate="none"))
        )


def test_configurations_are_measured_in_an_order_of_their_own_job(report: JobReport) -> None:
    assert report.status == "ended"
    assert report.failure is None
    assert report.plan == QUICK
    ran = sorted(
        (process.order, process.index, number) for number, run in enumerate(report.runs) for process in run.processes
    )
    seed = order_seed(QUICK, report.job_id)
    assert [(index, number) for _, index, number in ran] == list(interleaved(3, QUICK.processes, seed))
    assert [order for order, _, _ in ran] == list(range(6))


def test_samples_stay_with_their_process(report: JobReport) -> None:
    for run in report.runs:
        assert [process.index for process in run.processes] == [0, 1]
        for process in run.processes:
            assert len(process.warmup_ns) >= QUICK.warmup_min_runs
            assert sum(process.warmup_ns) <= QUICK.max_duration_ns
            assert len(process.samples_ns) >= QUICK.min_runs
            assert all(sample > 0 for sample in process.samples_ns)


def test_phases_of_the_start_are_apart_from_each_other(report: JobReport) -> None:
    for process in (process for run in report.runs for process in run.processes):
        phases = process.phases
        assert 1_000_000 < phases.spawn_ns < 5_000_000_000
        assert phases.import_ns > 1_000_000
        assert min(phases.load_ns, phases.allocate_ns, phases.first_ns) > 0


def test_memory_is_that_of_the_models_phases(report: JobReport) -> None:
    for process in (process for run in report.runs for process in run.processes):
        memory = process.memory
        assert 10 << 20 < memory.import_rss_bytes <= memory.load_peak_bytes <= memory.peak_rss_bytes
        # A model of 2 KB: what numpy.random or psutil need would show.
        assert memory.peak_rss_bytes - memory.import_rss_bytes < 6 << 20
        assert memory.pss_bytes is not None


def test_delegates_and_operators_are_counted(report: JobReport) -> None:
    assert [(run.delegate_nodes, run.operator_nodes) for run in report.runs] == [(1, 2), (1, 3), (0, 3)]


def test_the_boards_state_is_read_before_between_and_after(report: JobReport) -> None:
    assert len(report.states) == 7
    times = [state.taken_unix_ns for state in report.states]
    assert times == sorted(times)
    assert all(state.memory_available_bytes > 0 for state in report.states)


def test_the_report_says_where_it_was_measured(report: JobReport) -> None:
    assert report.facts is not None
    assert report.facts.machine == os.uname().machine
    assert report.runs[0].runtime in report.facts.runtimes
    assert report.started_unix_ns < report.ended_unix_ns


def test_a_model_is_measured_on_the_inputs_that_were_sent(agent: AgentProcess) -> None:
    import numpy as np

    sha256 = agent.push_model("conv_int8.tflite")
    good = agent.push(encode_arrays([np.zeros((5, 6, 6, 1), np.float32)]))
    assert agent.run(benchmark(configuration(sha256), inputs_sha256=good)).runs[0].failures == ()
    bad = agent.push(encode_arrays([np.zeros((5, 4, 4, 1), np.float32)]))
    (run,) = agent.run(benchmark(configuration(sha256), inputs_sha256=bad)).runs
    assert [failure.code for failure in run.failures] == ["bad-request"] * 2
    assert "takes (1, 6, 6, 1); a sample has (1, 4, 4, 1)" in run.failures[0].message


def test_a_model_that_kills_its_worker_is_a_failure_with_signal_and_phase_beside_results_of_the_others(
    agent: AgentProcess,
) -> None:
    names = ("segfault_load.tflite", "segfault_invoke.tflite", "smoke.tflite")
    loads, invokes, works = (agent.push_model(name) for name in names)
    report = agent.run(benchmark(configuration(loads), configuration(works), configuration(invokes)))
    assert report.status == "ended"
    assert [len(run.processes) for run in report.runs] == [0, 2, 0]
    for run, phase, sha256 in ((report.runs[0], "load", loads), (report.runs[2], "first", invokes)):
        assert [failure.code for failure in run.failures] == ["worker-killed"] * 2
        assert run.failures[0].details == {"phase": phase, "model_sha256": sha256, "signal": "SIGSEGV"}
        assert sha256 in run.failures[0].message
    assert agent.call("hello")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_is_rejected_with_the_runtimes_words_or_kills_only_its_worker(
    agent: AgentProcess, kept: float
) -> None:
    whole = (MODELS / "dense_float32.tflite").read_bytes()
    sha256 = agent.push(whole[: int(len(whole) * kept)])
    report = agent.run(benchmark(configuration(sha256), plan=replace(QUICK, processes=1)))
    assert report.status == "ended"
    (failure,) = report.runs[0].failures
    assert failure.code in ("model-rejected", "worker-killed")
    if failure.code == "model-rejected":
        assert failure.details["phase"] == "load"
        assert failure.details["runtime_error"]
    assert agent.call("hello")


def test_a_name_in_a_model_that_is_no_text_is_the_models_error_and_not_the_agents(agent: AgentProcess) -> None:
    whole = (MODELS / "conv_int8.tflite").read_bytes()
    assert whole.count(b"Relu;Conv2D") == 1
    sha256 = agent.push(whole.replace(b"Relu;Conv2D", b"\x89elu;Conv2D"))
    report = agent.run(benchmark(configuration(sha256), plan=replace(QUICK, processes=1)))
    (failure,) = report.runs[0].failures
    assert (failure.code, failure.details["phase"]) == ("model-failed", "report")


def test_a_worker_that_takes_too_long_is_killed_and_the_next_one_is_tried(agent: AgentProcess) -> None:
    endless, smoke = agent.push_model("endless.tflite"), agent.push_model("smoke.tflite")
    plan = replace(QUICK, processes=1, process_deadline_s=1.0)
    report = agent.run(benchmark(configuration(endless), configuration(smoke), plan=plan))
    assert report.status == "ended"
    (failure,) = report.runs[0].failures
    assert failure.code == "deadline"
    assert failure.details["phase"] == "first"
    assert len(report.runs[1].processes) == 1


def test_the_jobs_deadline_fails_it_and_keeps_what_was_measured(agent: AgentProcess) -> None:
    plan = replace(QUICK, processes=2, process_deadline_s=30.0, job_deadline_s=1.0)
    report = agent.run(benchmark(configuration(agent.push_model("endless.tflite")), plan=plan))
    assert report.status == "failed"
    assert report.failure is not None
    assert report.failure.code == "deadline"
    assert [failure.code for run in report.runs for failure in run.failures] == ["deadline"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> JobReport:
    """One model by a plan with everything on: blocks, steady warm-up, pinning, and an end that it finds itself."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "home").mkdir()
    plan = replace(
        QUICK,
        processes=6,
        min_runs=2000,
        steady_warmup_max_ns=50_000_000,
        block_ns=5_000_000,
        block_max_runs=500,
        target_half_width=0.5,
        max_processes=8,
        pinned=True,
    )
    with AgentProcess(folder / "home", folder / "board.lock") as agent:
        return agent.run(benchmark(configuration(agent.push_model("smoke.tflite")), plan=plan))


def test_blocks_hold_all_samples_and_count_what_happened_in_them(watched: JobReport) -> None:
    for process in watched.runs[0].processes:
        assert len(process.blocks) >= 4
        assert sum(block.runs for block in process.blocks) == len(process.samples_ns)
        assert process.sentinel_ns is not None
        for block in process.blocks:
            assert block.started_ns < block.ended_ns
            assert 0 < block.cpu_ns <= 1.2 * (block.ended_ns - block.started_ns) + 2_000_000
            assert block.sentinel_ns > 1000


def test_the_board_is_read_while_a_worker_runs_at_a_known_price(watched: JobReport) -> None:
    for process in watched.runs[0].processes:
        assert len(process.readings) >= 2
        assert process.readings[0].taken_ns <= process.blocks[0].ended_ns
        assert process.readings[-1].taken_ns >= process.blocks[-1].ended_ns
        assert 0 < process.monitor_cpu_ns < process.monitored_ns


def test_workers_run_on_cpus_of_their_own(watched: JobReport) -> None:
    available = len(os.sched_getaffinity(0))
    for process in watched.runs[0].processes:
        assert len(process.cpus) == (1 if available > 1 else 0)


class Started(RunningJob):
    """A job that keeps on which CPUs each of its workers is started, by its threads, and starts none."""

    def work(self, runtime: Runtime, task: Task, deadline_s: float, watch: Watch | None = None) -> WorkerResult:
        self.log(f"{task.threads} {sorted(os.sched_getaffinity(0))}")
        raise Fault("model-failed", "it was not to be measured")


def test_a_worker_gets_every_cpu_back_after_a_pinned_one(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = [{0, 1, 2, 3}]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed[-1])
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: allowed.append(set(cpus)))
    home.models.mkdir()
    (home.models / f"{'00' * 32}.tflite").touch()
    one, four = (configuration("00" * 32, threads=threads) for threads in (1, 4))
    spec = benchmark(one, four, plan=replace(QUICK, pinned=True))
    folder = JobFolder(tmp_path)
    folder.write_state(first_state("job", spec))
    board = Home(home.root, make_board(tmp_path / "board"))
    run_benchmark(Started(folder, spec, board, read_facts(board), Findings()))
    started = (tmp_path / "job.log").read_text().splitlines()
    assert Counter(started) == {"1 [0, 1, 2]": 2, "4 [0, 1, 2, 3]": 2}


def test_an_adaptive_plan_ends_when_the_interval_is_narrow_enough(watched: JobReport) -> None:
    (run,) = watched.runs
    assert watched.status == "ended"
    assert run.half_width is not None
    assert len(run.processes) == 6 or run.half_width > 0.5 or len(run.processes) == 8


def test_an_adaptive_plan_that_cannot_be_satisfied_ends_at_its_last_process(agent: AgentProcess) -> None:
    plan = replace(QUICK, processes=1, target_half_width=1e-9, max_processes=3)
    (run,) = agent.run(benchmark(configuration(agent.push_model("smoke.tflite")), plan=plan)).runs
    assert len(run.processes) == 3
    assert run.half_width is None  # three say nothing


def test_a_board_that_is_hot_is_waited_for_and_then_measured_with_a_warning(
    home: Home, lock_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_board(tmp_path / "root", sys__class__thermal__thermal_zone0__temp="71000")
    monkeypatch.setenv("EDGEPRESS_SYSTEM_ROOT", str(root))
    plan = replace(QUICK, processes=1, cool_to_c=60.0, cool_down_max_s=0.05)
    with AgentProcess(home.root, lock_file) as hot:
        (run,) = hot.run(benchmark(configuration(hot.push_model("smoke.tflite")), plan=plan)).runs
    assert len(run.processes) == 1
    assert "started-hot" in [warning.code for warning in run.warnings]
    assert run.processes[0].readings[0].temperature_c == 71.0


def test_memory_is_known_for_each_phase(watched: JobReport) -> None:
    for process in watched.runs[0].processes:
        memory = process.memory
        assert memory.first_peak_bytes is not None
        assert memory.steady_peak_bytes is not None
        assert memory.peak_rss_bytes == max(memory.load_peak_bytes, memory.first_peak_bytes, memory.steady_peak_bytes)
        assert memory.model_file_bytes is not None
        assert memory.file_bytes is not None
        assert 0 < memory.model_file_bytes <= memory.file_bytes
