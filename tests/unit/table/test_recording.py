"""A measured run becomes a row."""

from __future__ import annotations

import dataclasses

import pytest

from edgepress.errors import TableError
from edgepress.table.recording import MetricValue, Subject, result_of_run
from edgepress.table.render import render
from edgepress_agent.protocol.messages import Failure, Reading, SampleBlock
from support.table_rows import FACTS, MIB, job_report, process_run, result, run_report, steady_run, tflite_model


def test_the_row_holds_what_the_board_said() -> None:
    row = result("int8", run=steady_run(50_000))
    assert (row.runtime, row.runtime_version, row.threads, row.delegate_nodes) == ("ai-edge-litert", "2.1.6", 1, 1)
    assert (row.samples, row.processes, row.verdict) == (200, 5, "stable")
    assert (row.board_model, row.governor, row.emulated) == (FACTS.model, "performance", False)
    assert row.physical_device == FACTS.physical_id
    assert row.evidence is not None
    assert row.evidence.compression == {"recipe": {"name": "int8"}}


def test_memory_is_the_worst_process() -> None:
    run = run_report([])
    processes = tuple(process_run([1000] * 9, k, peak_rss_bytes=(60 + k) * MIB) for k in range(3))
    row = result(run=dataclasses.replace(run, processes=processes))
    assert (row.peak_rss_bytes, row.model_rss_bytes) == (62 * MIB, 22 * MIB)


def test_a_metric_that_is_no_number_is_not_known() -> None:
    nan = float("nan")
    row = result(metric="mean_absolute_error", board_metric=MetricValue(nan, 0.1, nan))
    assert (row.metric_value_board, row.metric_low_board, row.metric_high_board) == (None, 0.1, None)
    assert row.metric_value_host == 0.9778


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "00" * 32},
        {"runtime": "tflite-runtime"},
        {"runtime_version": "2.1.7"},
        {"runtime_api": "compiled-model"},
        {"delegate": "none"},
        {"delegate_nodes": 0},
        {"threads": 4},
        {"physical_device": "00" * 32},
        {"plan_sha256": "00" * 32},
        {"data_sha256": None},
        {"training_seed": 1},
    ],
)
def test_the_key_tells_apart_what_was_measured_differently(change: dict[str, object]) -> None:
    row = result()
    assert dataclasses.replace(row, **change).key != row.key  # type: ignore[arg-type]


def test_the_key_is_the_same_for_a_repetition_under_another_name() -> None:
    assert result("a", device="pi4", job_id="1").key == result("b", device="kitchen", job_id="2").key


def test_two_boards_of_one_kind_are_two_devices_even_without_a_serial_number() -> None:
    unknown = dataclasses.replace(FACTS, physical_id=None)
    assert result(device="a", facts=unknown).physical_device != result(device="b", facts=unknown).physical_device


def test_a_row_of_another_file_than_was_measured_is_refused() -> None:
    run = steady_run()
    with pytest.raises(TableError, match="the run measured cdcdcdcdcdcd"):
        result_of_run(run, job_report(run), tflite_model(sha256="00" * 32), Subject("digits"), "pi4")


def test_a_run_of_another_job_is_refused() -> None:
    with pytest.raises(TableError, match="no such run"):
        result_of_run(steady_run(1000), job_report(steady_run()), tflite_model(), Subject("digits"), "pi4")


def test_a_job_without_a_plan_measured_nothing() -> None:
    run = steady_run()
    with pytest.raises(TableError, match="no plan"):
        result_of_run(run, job_report(run, plan=None), tflite_model(), Subject("digits"), "pi4")


@pytest.mark.parametrize(
    ("level", "code"), [("as good", "outputs-as-good"), ("wrong", "outputs-wrong"), ("identical", None), (None, None)]
)
def test_a_row_says_why_its_outputs_are_wrong_or_differ_and_may(level: str | None, code: str | None) -> None:
    row = result("int8", output_check=level, output_check_reason="output 'a' differs by 40 steps")
    said = {warning.code: warning.message for warning in row.warnings}
    assert said == ({code: "output 'a' differs by 40 steps"} if code else {})
    if code:
        assert code in render([row], "text")
        assert "output 'a' differs by 40 steps" in render([row], "markdown")


def test_energy_is_the_mean_power_for_as_long_as_an_inference_takes() -> None:
    watts = iter((3.0, 4.0, 5.0, None, 4.0))
    run = steady_run(2_000_000)
    processes = [
        dataclasses.replace(process, readings=(Reading(1, None, None, None, 0.1, None, None, None, None, power),))
        for process, power in zip(run.processes, watts, strict=True)
    ]
    row = result(run=dataclasses.replace(run, processes=tuple(processes)))
    assert row.energy_per_run_j == pytest.approx(4.0 * row.latency_p50_ns / 1e9)
    assert result().energy_per_run_j is None


def test_a_row_of_fewer_processes_than_its_plan_has_says_so() -> None:
    failure = Failure("deadline", "the worker did not finish")
    assert [one.code for one in result(run=run_report([[100_000] * 40] * 4, failures=[failure])).warnings] == [
        "process-failed"
    ]
    (warning,) = result(run=run_report([[100_000] * 40] * 4)).warnings
    assert (warning.code, warning.data) == ("cut-short", {"started": 4, "planned": 5})
    assert warning.message.startswith("4 of 5 worker processes were started")


def test_power_that_was_read_after_the_last_block_is_not_that_of_inferences() -> None:
    run = steady_run(2_000_000)
    readings = tuple(Reading(at, None, None, None, 0.1, None, None, None, None, w) for at, w in ((1, 5.0), (3, 1.0)))
    blocks = (SampleBlock(40, 0, 2, 2, None, 0, 0, 1),)
    processes = tuple(dataclasses.replace(process, readings=readings, blocks=blocks) for process in run.processes)
    row = result(run=dataclasses.replace(run, processes=processes))
    assert row.energy_per_run_j == pytest.approx(5.0 * row.latency_p50_ns / 1e9)


@pytest.mark.parametrize(("nodes", "warned"), [(0, True), (1, False)])
def test_int8_that_reaches_no_delegate_is_not_to_be_compared_with_float(nodes: int, warned: bool) -> None:
    run = dataclasses.replace(steady_run(), delegate_nodes=nodes)
    model = dataclasses.replace(tflite_model(), tensor_types=(("INT8", 3),))
    row = result_of_run(run, job_report(run), model, Subject(model="digits"), "pi4")
    assert ("int8-without-delegate" in [warning.code for warning in row.warnings]) is warned
