"""How fast a board can be at best, and what is said of a number that is faster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepress.benchmarking.roofline import Bound, bound_of, roofline_share
from edgepress.benchmarking.verdict import judge_run
from edgepress.devices.profiles import load_profile
from edgepress_converters.cost import FileCost
from support.table_rows import board_state, steady_run

PI4 = load_profile("raspberry-pi-4b")
CALM = (board_state(), board_state())
MOBILENET_V1 = FileCost(macs=569_000_000, constant_bytes=16_900_000, is_integer=False)


def test_arithmetic_bounds_what_has_many_multiplications() -> None:
    bound = bound_of(MOBILENET_V1, PI4, threads=4)
    assert bound is not None
    assert bound.latency_ns == pytest.approx(2 * 569e6 / (4 * 14.4e9) * 1e9, rel=1e-6)
    assert not bound.is_measured
    # XNNPACK README: 77 ms on four cores of a Raspberry Pi 4.
    assert roofline_share(bound, 77_000_000) == pytest.approx(0.26, abs=0.02)


def test_memory_bounds_what_has_many_weights() -> None:
    bound = bound_of(replace(MOBILENET_V1, macs=20_000_000, constant_bytes=40_000_000), PI4, threads=4)
    assert bound is not None
    assert "constants to read" in bound.reason
    assert bound.latency_ns == pytest.approx((40e6 - 2**20) / 4e9 * 1e9, rel=1e-6)


def test_more_threads_than_cores_do_not_help_and_int8_has_its_own_peak() -> None:
    assert bound_of(MOBILENET_V1, PI4, 8) == bound_of(MOBILENET_V1, PI4, 4)
    integer, real = (bound_of(replace(MOBILENET_V1, is_integer=flag), PI4, 1) for flag in (True, False))
    assert integer is not None
    assert real is not None
    assert integer.latency_ns < real.latency_ns


def test_no_figures_no_bound() -> None:
    assert bound_of(MOBILENET_V1, None, 1) is None
    assert bound_of(MOBILENET_V1, load_profile("local"), 1) is None
    assert bound_of(replace(MOBILENET_V1, macs=0), PI4, 1) is None
    assert roofline_share(None, 5) is None


@pytest.mark.parametrize(("is_measured", "verdict"), [(True, "implausible"), (False, "stable")])
def test_faster_than_possible_is_refused_only_against_measured_figures(is_measured: bool, verdict: str) -> None:
    bound = Bound(9_000_000, is_measured, "1,138 million float32 operations on 4 cores")
    found = judge_run(steady_run(5_000_000), CALM, bound)
    assert found.name == verdict
    assert [warning.code for warning in found.warnings] == ["beyond-roofline"]


def test_nothing_is_said_below_a_millisecond_or_at_the_bound() -> None:
    bound = Bound(9_000_000, True, "")
    assert judge_run(steady_run(900_000), CALM, bound).name == "stable"
    assert judge_run(steady_run(9_100_000), CALM, bound).name == "stable"
