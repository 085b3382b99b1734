"""Which blocks are marked, for which cause, and what that does to the headline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.benchmarking.interference import find_interference, fixed_clock_hz, kept_samples
from edgepress.benchmarking.statistics import summarize
from edgepress.benchmarking.verdict import judge_run
from edgepress_agent.protocol.messages import ProcessRun, Reading, RunReport, SampleBlock
from support.table_rows import FACTS, board_state, process_run, run_report

BLOCK_NS = 25_000_000
RUNS = 25
CALM = Reading(0, 1_800_000_000, 48.0, 0, 0.1, 0, 0, 0, 0, None)
Change = Callable[[SampleBlock], SampleBlock]


def blocks_of(samples: Sequence[int], change: Change, disturbed: range) -> tuple[SampleBlock, ...]:
    blocks = []
    for number in range(len(samples) // RUNS):
        begun = number * BLOCK_NS
        duration = sum(samples[number * RUNS : (number + 1) * RUNS])
        block = SampleBlock(RUNS, begun, begun + duration, duration, 0, 0, 0, 150_000)
        blocks.append(change(block) if number in disturbed else block)
    return tuple(blocks)


def unchanged(block: SampleBlock) -> SampleBlock:
    return block


def measured(
    change: Change = unchanged,
    disturbed: range = range(0),
    *,
    factor: float = 1.0,
    processes: int = 5,
    blocks: int = 8,
    readings: tuple[Reading, ...] = (),
    threads: int = 1,
    level_ns: int = 1_000_000,
) -> RunReport:
    """Processes of eight blocks of 1 ms inferences; the disturbed blocks of the first process are changed."""
    runs: list[ProcessRun] = []
    for index in range(processes):
        ours = disturbed if index == 0 else range(0)
        samples = [
            round((level_ns + 500 * ((7 * run) % 25 - 12)) * (factor if run // RUNS in ours else 1))
            for run in range(blocks * RUNS)
        ]
        run = process_run(samples, index)
        runs.append(replace(run, blocks=blocks_of(samples, change, ours), readings=readings, sentinel_ns=150_000))
    return replace(run_report([[1]], threads=threads), processes=tuple(runs))


def test_a_calm_run_has_no_marks() -> None:
    seen = find_interference(measured())
    assert (seen.blocks, seen.marked, seen.share, seen.is_excluded) == (40, (), 0.0, False)


def test_reports_without_blocks_have_no_marks() -> None:
    assert find_interference(run_report([[100_000] * 40] * 5)).blocks == 0


def held(block: SampleBlock) -> SampleBlock:
    return replace(block, cpu_ns=round(0.9 * block.cpu_ns))


@pytest.mark.parametrize(
    ("cause", "change", "factor"),
    [
        ("descheduled", held, 1.0),
        ("descheduled", lambda block: replace(block, waited_ns=BLOCK_NS // 10), 1.0),
        ("slow", unchanged, 1.10),
        ("major-faults", lambda block: replace(block, major_faults=1), 1.0),
    ],
)
def test_each_cause_marks_its_block(cause: str, change: Change, factor: float) -> None:
    seen = find_interference(measured(change, range(3, 4), factor=factor))
    assert [(mark.process, mark.first, mark.end, mark.causes) for mark in seen.marked] == [(0, 75, 100, (cause,))]
    assert list(seen.shares) == [cause]


def slow_sentinel(block: SampleBlock) -> SampleBlock:
    return replace(block, sentinel_ns=170_000)


def test_a_slow_sentinel_says_that_it_was_the_cpu() -> None:
    (mark,) = find_interference(measured(slow_sentinel, range(3, 4), factor=1.10)).marked
    assert mark.causes == ("slow", "sentinel")


def test_a_slow_sentinel_beside_inferences_that_were_not_slow_marks_nothing() -> None:
    assert find_interference(measured(slow_sentinel, range(3, 4))).marked == ()


def test_threads_that_wait_for_each_other_have_no_share_of_the_cpu_to_lose() -> None:
    assert find_interference(measured(held, range(2), threads=4)).marked == ()


@pytest.mark.parametrize(
    ("cause", "reading"),
    [("clock", replace(CALM, cpu_hz=1_500_000_000)), ("throttled", replace(CALM, throttled_bits=0x4))],
)
def test_what_the_monitor_reads_marks_the_blocks_beside_it(cause: str, reading: Reading) -> None:
    readings = (CALM, replace(reading, taken_ns=2 * BLOCK_NS), replace(CALM, taken_ns=8 * BLOCK_NS))
    seen = find_interference(measured(readings=readings, processes=1))
    assert {mark.causes for mark in seen.marked} == {(cause,)}
    assert 2 <= len(seen.marked) <= 6


def test_stolen_time_marks_the_blocks_between_two_readings() -> None:
    stolen = replace(CALM, taken_ns=3 * BLOCK_NS, steal_ns=30_000_000)
    readings = (CALM, stolen, replace(stolen, taken_ns=8 * BLOCK_NS))
    seen = find_interference(measured(readings=readings, processes=1))
    assert [mark.first for mark in seen.marked] == [0, 25, 50]
    assert all("steal" in mark.causes for mark in seen.marked)


def test_a_process_that_is_slow_from_beginning_to_end_is_marked_as_a_whole() -> None:
    seen = find_interference(measured(disturbed=range(8), factor=1.10))
    assert len(seen.marked) == 8
    assert set(seen.shares) == {"slow-process"}


def test_few_marked_blocks_leave_the_headline_and_no_sample_is_lost() -> None:
    report = measured(held, range(2, 5), factor=1.2)
    summary = summarize(report)
    assert summary.samples == 40 * RUNS - 3 * RUNS
    assert summary.max_ns < 1_100_000
    assert sum(len(run.samples_ns) for run in report.processes) == 40 * RUNS


def test_one_marked_block_in_forty_is_excluded_and_said() -> None:
    verdict = judge_run(measured(held, range(2, 3)), (board_state(), board_state()))
    assert verdict.name == "stable"
    (caution,) = verdict.cautions
    assert caution.code == "blocks-excluded"
    assert "1 of 40 blocks" in caution.message


def test_many_marked_blocks_make_it_unstable_with_share_cause_and_remedy_and_stay_in_the_headline() -> None:
    report = measured(held, range(8))
    verdict = judge_run(report, (board_state(), board_state()))
    assert verdict.name == "unstable"
    (reason,) = verdict.reasons
    assert reason.code == "disturbed"
    assert reason.message.startswith("20% of the run was disturbed: the worker did not have the CPU")
    assert "Stop what else runs there" in reason.message
    assert summarize(report).samples == 40 * RUNS


@settings(max_examples=40)
@given(factor=st.floats(1.10, 3.0), length=st.integers(1, 5), first=st.integers(0, 3), blocks=st.integers(8, 10))
def test_a_tenth_slower_for_a_tenth_of_the_run_is_never_called_stable_in_silence(
    factor: float, length: int, first: int, blocks: int
) -> None:
    report = measured(disturbed=range(first, first + length), factor=factor, processes=1, blocks=blocks)
    report = replace(report, processes=report.processes * 2)
    verdict = judge_run(report, (board_state(), board_state()))
    assert verdict.name != "stable" or any(warning.code == "blocks-excluded" for warning in verdict.warnings)


def test_kept_samples_are_those_outside_marked_blocks() -> None:
    report = measured(held, range(1, 2))
    kept = kept_samples(report, find_interference(report))
    whole = report.processes[0].samples_ns
    assert kept[0] == whole[:RUNS] + whole[2 * RUNS :]
    assert kept[1] == report.processes[1].samples_ns


def test_a_clock_that_is_low_all_the_time_is_known_by_the_states_around_it_or_by_the_boards_own_maximum() -> None:
    low = replace(CALM, cpu_hz=1_500_000_000)
    report = measured(readings=(low, replace(low, taken_ns=8 * BLOCK_NS)))
    assert find_interference(report).marked == ()
    assert find_interference(report, (board_state(), board_state(cpu_hz=1_500_000_000))).share == 1
    assert find_interference(report, max_hz=fixed_clock_hz(FACTS)).share == 1
    assert fixed_clock_hz(replace(FACTS, machine="x86_64")) is None
