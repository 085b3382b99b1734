"""When a difference is claimed."""

from __future__ import annotations

import random

import pytest

from edgepress.benchmarking.comparison import Claim, compare_runs, judge_ratio
from edgepress.benchmarking.statistics import Ratio
from edgepress.errors import JobError
from edgepress_agent.protocol.messages import RunReport
from support.table_rows import run_report


@pytest.mark.parametrize(
    ("ratio", "floor", "claim"),
    [
        (Ratio(1.05, 1.03, 1.07), None, Claim.SLOWER),
        (Ratio(0.95, 0.93, 0.97), None, Claim.FASTER),
        (Ratio(1.05, 0.99, 1.11), None, Claim.NONE),  # the interval holds 1
        (Ratio(1.015, 1.010, 1.020), None, Claim.NONE),  # less than 2 %
        (Ratio(1.05, 1.03, 1.07), 0.03, Claim.NONE),  # less than twice the floor
        (Ratio(1.05, 1.03, 1.07), 0.02, Claim.SLOWER),
        (Ratio(0.95, 0.93, 0.97), 0.03, Claim.NONE),
    ],
)
def test_an_interval_without_1_and_twice_the_floor_are_both_needed(
    ratio: Ratio, floor: float | None, claim: Claim
) -> None:
    assert judge_ratio(ratio, floor).claim is claim


@pytest.mark.parametrize("doubt", [Claim.WITHHELD, Claim.EMULATED])
def test_rows_that_are_not_stable_or_emulated_are_no_ground_for_a_claim(doubt: Claim) -> None:
    assert judge_ratio(Ratio(1.5, 1.4, 1.6), None, doubt=doubt).claim is doubt
    assert judge_ratio(Ratio(1.01, 0.99, 1.03), None, doubt=doubt).claim is Claim.NONE


def session(seed: int, factor: float = 1.0) -> RunReport:
    """Ten processes that differ by 1 %, and two in ten in a slower mode."""
    generator = random.Random(seed)
    levels = [100_000 * factor * generator.gauss(1, 0.01) * (1.3 if generator.random() < 0.2 else 1) for _ in range(10)]
    return run_report([[round(level * generator.gauss(1, 0.02)) for _ in range(30)] for level in levels])


def test_the_same_file_against_itself_is_rarely_called_slower_even_on_a_bimodal_machine() -> None:
    claims = [compare_runs(session(seed), session(1000 + seed), None).claim for seed in range(60)]
    assert claims.count(Claim.SLOWER) <= 2


def test_one_process_in_common_is_too_few() -> None:
    with pytest.raises(JobError, match="two rounds"):
        compare_runs(run_report([[1] * 5]), run_report([[1] * 5, [1] * 5]), None)
