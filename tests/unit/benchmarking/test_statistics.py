"""What raw samples say about latency."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.benchmarking.statistics import MIN_SAMPLES, paired_ratio, percentile, summarize, whiskers
from support.table_rows import run_report

latencies = st.lists(st.lists(st.integers(1, 10**10), min_size=1, max_size=40), min_size=1, max_size=6)


@given(latencies)
def test_every_quantile_is_a_value_that_was_measured(by_process: list[list[int]]) -> None:
    summary = summarize(run_report(by_process))
    measured = {sample for samples in by_process for sample in samples}
    stated = (summary.min_ns, summary.p50_ns, summary.p95_ns, summary.max_ns, summary.p50_low_ns, summary.p50_high_ns)
    assert measured >= {value for value in stated if value is not None}


@given(latencies)
def test_quantiles_are_in_order_and_the_interval_holds_values_of_the_range(by_process: list[list[int]]) -> None:
    summary = summarize(run_report(by_process))
    quantiles = (summary.min_ns, summary.p50_ns, summary.p90_ns, summary.p95_ns, summary.max_ns)
    stated = [value for value in quantiles if value is not None]
    assert stated == sorted(stated)
    if summary.p50_low_ns is not None and summary.p50_high_ns is not None:
        assert summary.min_ns <= summary.p50_low_ns <= summary.p50_high_ns <= summary.max_ns


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=300), st.integers(1, 100))
def test_percentile_is_numpys_inverted_cdf(samples: list[int], percent: int) -> None:
    ordered = np.sort(np.asarray(samples, np.int64))
    rank = next(k for k in range(1, len(ordered) + 1) if 100 * k >= percent * len(ordered))
    assert percentile(ordered, percent) == ordered[rank - 1]


@pytest.mark.parametrize(("percent", "samples"), [(90, 64), (95, 130), (99, 662)])
def test_sample_minimum_is_mlperfs_early_stopping_estimate(percent: int, samples: int) -> None:
    """With n samples, one of which lies above it, the percentile is known with 99 % confidence; with n - 1 not."""

    def chance_of_at_most_one_above(n: int) -> float:
        above = 1 - percent / 100
        return sum(comb(n, k) * above**k * (1 - above) ** (n - k) for k in (0, 1))

    assert MIN_SAMPLES[percent] == samples
    assert chance_of_at_most_one_above(samples) <= 0.01 < chance_of_at_most_one_above(samples - 1)


def test_a_percentile_without_enough_samples_is_none() -> None:
    few, enough = summarize(run_report([range(1, 130)])), summarize(run_report([range(1, 131)]))
    assert few.p95_ns is None
    assert enough.p95_ns == 124
    assert enough.p99_ns is None


def test_samples_of_a_faster_process_weigh_by_their_number() -> None:
    summary = summarize(run_report([[10] * 6, [20] * 4]))
    assert (summary.p50_ns, summary.samples, summary.processes) == (10, 10, 2)
    assert summary.process_medians_ns == (10, 20)


def test_one_process_gives_no_interval_and_no_spread() -> None:
    summary = summarize(run_report([[10, 11, 12]]))
    assert (summary.p50_low_ns, summary.p50_high_ns, summary.process_spread) == (None, None, None)


def test_many_samples_of_few_processes_do_not_narrow_the_interval() -> None:
    """Two processes, a thousand samples each: an interval over samples would be 0 wide, the truth is 100 to 140."""
    summary = summarize(run_report([[100] * 1000, [140] * 1000]))
    assert (summary.p50_low_ns, summary.p50_high_ns) == (100, 140)


def test_the_bootstrap_agrees_with_a_plain_one() -> None:
    generator = np.random.default_rng(5)
    by_process = [generator.normal(1000 + 30 * k, 20, 25 + 5 * k).astype(int).tolist() for k in range(8)]
    summary = summarize(run_report(by_process))
    medians = [
        np.quantile(np.concatenate([by_process[k] for k in generator.integers(0, 8, 8)]), 0.5, method="inverted_cdf")
        for _ in range(4000)
    ]
    low, high = np.quantile(medians, [0.025, 0.975])
    assert summary.p50_low_ns == pytest.approx(low, abs=8)
    assert summary.p50_high_ns == pytest.approx(high, abs=8)


def test_the_same_samples_give_the_same_interval() -> None:
    report = run_report([[100 + k, 110 + k, 90 + k] for k in range(7)])
    assert summarize(report) == summarize(report)


def test_coverage_is_what_the_docstring_says() -> None:
    """A 95 % interval covers the true median in about 90 % of sessions of five processes, 94 % of twenty."""
    generator = np.random.default_rng(1)

    def coverage(processes: int, sessions: int = 100) -> float:
        covered = 0
        for _ in range(sessions):
            centres = generator.normal(100_000, 3000, processes)
            summary = summarize(run_report([generator.normal(c, 300, 15).astype(int).tolist() for c in centres]))
            assert summary.p50_low_ns is not None
            assert summary.p50_high_ns is not None
            covered += summary.p50_low_ns <= 100_000 <= summary.p50_high_ns
        return covered / sessions

    assert coverage(5) == pytest.approx(0.90, abs=0.06)
    assert coverage(20) == pytest.approx(0.94, abs=0.05)


def test_drift_is_the_change_inside_a_process() -> None:
    summary = summarize(run_report([[100] * 10 + [105] * 10 + [110] * 10] * 3))
    assert summary.drift == pytest.approx(0.1)
    assert summary.process_spread == 0


def test_a_run_without_samples_has_no_latency() -> None:
    with pytest.raises(ValueError, match="without samples"):
        summarize(run_report([]))


def test_a_common_slowdown_of_a_round_does_not_widen_a_paired_ratio() -> None:
    rounds = [100, 150, 120, 300, 90, 200]
    ours = [[2 * level] * 9 for level in rounds]
    theirs = [[level] * 9 for level in rounds]
    ratio = paired_ratio(ours, theirs)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_a_paired_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError, match="got 3 and 2"):
        paired_ratio([[1]] * 3, [[1]] * 2)


def test_an_outlier_lies_far_from_the_others_and_far_enough_to_matter() -> None:
    alike = [100_000, 100_001, 100_002] * 20
    assert summarize(run_report([[*alike, 101_000]])).outliers == 0  # far for these, and one hundredth
    assert summarize(run_report([[*alike, 106_000]])).outliers == 1
    wide = list(range(100_000, 120_000, 400))
    assert summarize(run_report([[*wide, 130_000]])).outliers == 0  # a fifth off, and so are many


@pytest.mark.parametrize(("samples", "ends"), [(129, (33, 97)), (130, (7, 124))])
def test_whiskers_are_percentiles_only_where_there_are_samples_for_them(samples: int, ends: tuple[int, int]) -> None:
    assert whiskers(np.arange(1, samples + 1)) == ends
