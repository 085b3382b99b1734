from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.benchmark import interleaved
from edgepress_agent.protocol.messages import JobReport
from edgepress_agent.protocol.tensors import encode_arrays
from support.agent_process import MODELS, QUICK, AgentProcess, benchmark, configuration


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


def test_configurations_are_measured_in_the_order_of_the_plan(report: JobReport) -> None:
    assert report.status == "ended"
    assert report.failure is None
    assert report.plan == QUICK
    ran = sorted(
        (process.order, process.index, number) for number, run in enumerate(report.runs) for process in run.processes
    )
    assert [(index, number) for _, index, number in ran] == list(interleaved(3, QUICK.processes, QUICK.seed))
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
