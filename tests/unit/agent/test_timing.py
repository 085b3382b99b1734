from __future__ import annotations

import gc
from array import array
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_agent.protocol.messages import BenchmarkPlan
from edgepress_agent.timing import Blocks, sample_storage, timed_runs, warm_up
from support.agent_process import QUICK

PLAN = replace(
    QUICK, warmup_min_runs=3, warmup_min_ns=100, min_runs=5, min_duration_ns=200, max_duration_ns=10_000, seed=0
)


class Inference:
    """An inference that takes the times it is told to, and the clock that sees it. Reading the clock takes no time."""

    def __init__(self, durations_ns: Callable[[int], int]) -> None:
        self.now = 1_000_000
        self.runs = 0
        self._durations = durations_ns

    def clock(self) -> int:
        return self.now

    def __call__(self) -> None:
        self.now += self._durations(self.runs)
        self.runs += 1


def warmed(inference: Inference) -> tuple[int, ...]:
    return tuple(warm_up(inference, PLAN, inference.clock).durations_ns)


def timed(inference: Inference, plan: BenchmarkPlan = PLAN) -> tuple[int, ...]:
    return tuple(timed_runs(inference, plan, inference.clock, sample_storage(plan), Blocks()))


def test_warm_up_lasts_for_its_runs_and_its_time() -> None:
    assert warmed(Inference(lambda _: 90)) == (90, 90, 90)
    assert warmed(Inference(lambda _: 10)) == (10,) * 10


def test_warm_up_of_a_very_slow_model_ends_at_the_longest_duration() -> None:
    assert warmed(Inference(lambda _: 6_000)) == (6_000, 6_000)


def test_at_least_the_runs_and_at_least_the_time_are_measured() -> None:
    assert timed(Inference(lambda _: 100)) == (100,) * 5
    assert timed(Inference(lambda _: 10)) == (10,) * 20


def test_the_longest_duration_ends_it_before_there_are_enough_runs() -> None:
    assert timed(Inference(lambda _: 6_000)) == (6_000, 6_000)
    assert timed(Inference(lambda _: 60_000)) == (60_000,)


@settings(max_examples=30)
@given(st.lists(st.integers(100, 5_000), min_size=1, max_size=30), st.integers(1, 12), st.integers(0, 3_000))
def test_samples_are_what_each_inference_took_in_order(cycle: list[int], min_runs: int, min_duration: int) -> None:
    inference = Inference(lambda run: cycle[run % len(cycle)] + 1)
    plan = replace(PLAN, min_runs=min_runs, min_duration_ns=min_duration)
    samples = timed(inference, plan)
    assert list(samples) == [cycle[run % len(cycle)] + 1 for run in range(inference.runs)]
    whole = sum(samples)
    assert (len(samples) >= min_runs and whole >= min_duration) or whole >= plan.max_duration_ns
    before_last = whole - samples[-1]
    assert before_last < plan.max_duration_ns
    assert len(samples) - 1 < min_runs or before_last < min_duration


def test_storage_grows_when_inferences_are_shorter_than_expected() -> None:
    inference = Inference(lambda run: run % 3 + 1)
    samples = timed_runs(inference, PLAN, inference.clock, array("q"), Blocks())
    assert list(samples) == [run % 3 + 1 for run in range(len(samples))]
    assert sum(samples) >= 200


def test_storage_is_made_for_what_the_plan_asks_for_and_no_more_than_8_mib() -> None:
    assert len(sample_storage(replace(PLAN, min_runs=50, min_duration_ns=1_000_000_000))) == 50_000
    assert len(sample_storage(replace(PLAN, min_runs=70_000, min_duration_ns=0))) == 70_000
    assert len(sample_storage(replace(PLAN, min_duration_ns=10**15))) == 1 << 20


def test_no_garbage_is_collected_while_the_clock_runs() -> None:
    states = []
    inference = Inference(lambda _: states.append(gc.isenabled()) or 100)  # type: ignore[func-returns-value]
    timed(inference)
    assert states == [False] * 5
    assert gc.isenabled()


def test_the_garbage_collector_runs_again_after_an_inference_that_failed() -> None:
    def fails(_: int) -> int:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        timed(Inference(fails))
    assert gc.isenabled()


class Recorder(Blocks):
    """Notes the blocks it is told of."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, int, int]] = []

    def end(self, runs: int, started_ns: int, ended_ns: int) -> None:
        self.ended.append((runs, started_ns, ended_ns))


@settings(max_examples=30)
@given(st.integers(20, 300), st.integers(1, 900), st.integers(1, 40), st.integers(0, 50))
def test_blocks_hold_every_sample_once_and_in_order(duration: int, block: int, most: int, between: int) -> None:
    inference = Inference(lambda _: duration)
    plan = replace(PLAN, min_runs=20, block_ns=block, block_max_runs=most, untimed_between_ns=between)
    blocks = Recorder()
    samples = timed_runs(inference, plan, inference.clock, sample_storage(plan), blocks)
    assert sum(runs for runs, _, _ in blocks.ended) == len(samples)
    for runs, started, ended in blocks.ended:
        assert 1 <= runs <= most
        assert ended - started == runs * duration
        assert (runs - 1) * duration < block
    assert all(before[2] <= after[1] for before, after in zip(blocks.ended, blocks.ended[1:], strict=False))


def test_load_between_blocks_is_not_timed() -> None:
    inference = Inference(lambda _: 100)
    plan = replace(PLAN, min_runs=6, block_ns=200, untimed_between_ns=500)
    samples = timed_runs(inference, plan, inference.clock, sample_storage(plan), Recorder())
    assert len(samples) == 6
    assert inference.runs == 6 + 2 * 5


def test_warm_up_goes_on_until_the_trace_is_steady() -> None:
    falling = Inference(lambda run: max(100, 1000 - 20 * run))
    plan = replace(PLAN, steady_warmup_max_ns=10**6, max_duration_ns=10**7)
    found = warm_up(falling, plan, falling.clock)
    assert found.steady is True
    assert 60 <= len(found.durations_ns) <= 120


def test_warm_up_that_never_becomes_steady_ends_and_says_so() -> None:
    slower = Inference(lambda run: 100 * (run + 1))
    plan = replace(PLAN, steady_warmup_max_ns=100_000, max_duration_ns=10**7)
    assert warm_up(slower, plan, slower.clock).steady is False
    few = Inference(lambda _: 60_000)
    assert warm_up(few, plan, few.clock).steady is None
