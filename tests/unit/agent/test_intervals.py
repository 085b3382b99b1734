"""The distribution-free interval of a median, by which adaptive plans stop."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.protocol.intervals import half_width, median_interval


@given(st.lists(st.integers(1, 10**9), max_size=40))
def test_its_bounds_are_values_around_the_median(values: list[int]) -> None:
    interval = median_interval(values)
    if len(values) < 6:
        assert interval is None
        return
    assert interval is not None
    low, high = interval
    assert low in values
    assert high in values
    assert low <= sorted(values)[(len(values) - 1) // 2] <= high


# David and Nagaraja, table of ranks for 95 %.
@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (12, 3), (15, 4), (20, 6), (30, 10)])
def test_its_ranks_are_those_of_the_binomial_tables(count: int, rank: int) -> None:
    assert median_interval(range(1, count + 1)) == (rank, count + 1 - rank)


def test_it_holds_the_median_as_often_as_it_says_whatever_the_modes() -> None:
    generator = random.Random(1)
    held = 0
    for _ in range(2000):
        drawn = [generator.gauss(100_000, 1000) + (40_000 if generator.random() < 0.3 else 0) for _ in range(11)]
        interval = median_interval([round(value) for value in drawn])
        assert interval is not None
        held += interval[0] <= 100_560 <= interval[1]  # the median of this mixture
    assert held / 2000 > 0.94


def test_the_width_is_the_longer_side_as_a_fraction_of_the_median() -> None:
    assert half_width([100, 100, 100, 100, 100, 110]) == pytest.approx(0.10)
    assert half_width([100] * 5) is None
