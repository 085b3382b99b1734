"""The plans that ship."""

from __future__ import annotations

import pytest

from edgepress.benchmarking.plans import PLANS
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
