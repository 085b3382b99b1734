"""The kernel's counters, as a Raspberry Pi's and a virtual machine's files have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent import counters

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Raspberry Pi 4, kernel 6.6; cpu3 of a guest with steal.
STAT = """cpu  10132153 290696 3084719 46828483 16683 0 25195 0 0 0
cpu0 1393280 32966 572056 13343292 6130 0 17875 0 0 0
cpu3 100 10 20 400 5 1 2 50 7 0
intr 1462898
ctxt 115315
"""
PRESSURE = """some avg10=2.66 avg60=2.40 avg300=2.35 total=933649765
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""


def test_busy_and_stolen_time_of_each_cpu() -> None:
    found = counters.parse_stat(STAT)
    assert sorted(found) == [0, 3]
    assert found[3] == counters.CpuTimes(busy_ns=133 * TICK_NS, steal_ns=50 * TICK_NS)
    assert found[0].steal_ns == 0


def test_pressure_load_and_swap() -> None:
    assert counters.parse_pressure_us(PRESSURE) == 933_649_765
    assert counters.parse_loadavg("0.52 0.58 0.59 1/467 28282\n") == 0.52
    assert counters.parse_vmstat("pgpgin 5\npswpin 17\npswpout 3\n", "pswpin") == 17
    assert counters.parse_schedstat("1234 58901 1") == 58_901


def test_kernels_without_these_files_say_nothing() -> None:
    assert counters.parse_stat(None) == {}
    assert counters.parse_pressure_us(None) is None
    assert counters.parse_loadavg(None) is None
    assert counters.parse_vmstat(None, "pswpin") is None
    assert counters.parse_schedstat("0 0") is None


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    counters.parse_stat(text)
    counters.parse_pressure_us(text)
    counters.parse_loadavg(text)
    counters.parse_vmstat(text, "pswpin")
    counters.parse_schedstat(text)


def test_a_kernel_without_schedstat_does_not_say_that_nobody_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "_TASKS", tmp_path)
    (tmp_path / "17").mkdir()
    assert counters.own_wait_ns() is None
    (tmp_path / "18").mkdir()
    (tmp_path / "18/schedstat").write_text("1234 58901 1\n")
    assert counters.own_wait_ns() == 58_901


def test_waiting_of_this_process_never_falls() -> None:
    first, second = counters.own_wait_ns(), counters.own_wait_ns()
    assert (first is None and second is None) or (first is not None and second is not None and first <= second)
