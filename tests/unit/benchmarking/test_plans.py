"""The plans that ship."""

from __future__ import annotations

import pytest

from edgepress.benchmarking.plans import PLANS, duration_bounds_s
from edgepress.benchmarking.statistics import MIN_SAMPLES


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_carries_its_name_and_bounds_that_can_be_met(name: str) -> None:
    plan = PLANS[name]
    assert plan.name == name
    assert plan.min_duration_ns <= plan.max_duration_ns < plan.process_deadline_s * 1e9
    assert plan.processes * (plan.warmup_min_ns + plan.max_duration_ns) < plan.job_deadline_s * 1e9


@pytest.mark.parametrize(("name", "percent"), [("quick", 95), ("standard", 99)])
def test_a_plan_takes_enough_samples_for_its_percentile(name: str, percent: int) -> None:
    assert PLANS[name].processes * PLANS[name].min_runs >= MIN_SAMPLES[percent]


def test_standard_is_mlperf_mobiles_duration() -> None:
    plan = PLANS["standard"]
    assert plan.processes * plan.min_runs >= 1024
    assert plan.processes * plan.min_duration_ns == 60 * 10**9
    assert plan.processes * plan.max_duration_ns == 300 * 10**9


def test_the_bounds_of_a_session_hold_all_that_a_plan_allows() -> None:
    least, most = duration_bounds_s(PLANS["adaptive"], 2)
    assert 2 * 6 * 0.5 < least < 2 * 6 * 1.0
    assert least < most <= PLANS["adaptive"].job_deadline_s
    assert duration_bounds_s(PLANS["quick"], 4)[0] > duration_bounds_s(PLANS["quick"], 1)[0]


def test_sustained_is_ten_minutes_of_load_and_keeps_few_of_its_samples() -> None:
    plan = PLANS["sustained"]
    assert plan.processes * plan.min_duration_ns == 600 * 10**9
    assert plan.block_max_runs is not None
    blocks = plan.min_duration_ns / (plan.block_ns + plan.untimed_between_ns)
    assert plan.processes * blocks * plan.block_max_runs <= 300_000
    assert plan.cool_to_c is None


def test_plans_that_ship_watch_for_interference_in_at_least_eight_blocks_a_process() -> None:
    for name in ("quick", "standard", "adaptive", "sustained"):
        assert PLANS[name].block_ns > 0
        assert PLANS[name].min_duration_ns / (PLANS[name].block_ns + PLANS[name].untimed_between_ns) >= 8
