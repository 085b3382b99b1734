"""Watching a board while a worker runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgepress_agent import monitor
from edgepress_agent.monitor import Budget, Monitor, Probe
from support.made_up_board import add_vcgencmd, make_board


def test_a_reading_has_what_the_board_says_of_the_workers_cpus(tmp_path: Path) -> None:
    root = make_board(tmp_path)
    (root / "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq").write_text("600000\n")
    (root / "proc/stat").write_text("cpu0 1 0 1 9 0 0 0 7 0 0\ncpu1 1 0 1 9 0 0 0 2 0 0\n")
    reading, spent_ns = Probe(root, (0,)).read(ask_firmware=True)
    assert (reading.cpu_hz, reading.temperature_c, reading.throttled_bits) == (1_800_000_000, 48.312, 0)
    assert (reading.load_1min, reading.pressure_us, reading.swapped_in_pages) == (0.05, 1000, 0)
    assert reading.power_w is None
    assert spent_ns == 0  # no program was started
    everywhere, _ = Probe(root, ()).read(ask_firmware=False)
    assert everywhere.cpu_hz == 1_800_000_000  # the other one may be idle
    assert everywhere.steal_ns == 9 * (reading.steal_ns or 0) // 7


def test_the_firmware_knows_the_real_clock_and_the_power(tmp_path: Path) -> None:
    root = make_board(tmp_path, **{"sys__devices__platform__soc__soc:firmware__get_throttled": None})
    (root / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink(missing_ok=True)
    add_vcgencmd(
        root,
        get_throttled="throttled=0x20002",
        measure_clock="frequency(48)=1200126976",
        pmic_read_adc="VDD_CORE_A=1.0A\nVDD_CORE_V=0.8750V",
    )
    reading, spent_ns = Probe(root, (0,)).read(ask_firmware=True)
    assert (reading.cpu_hz, reading.throttled_bits) == (1_200_126_976, 0x20002)
    assert reading.power_w == pytest.approx(1.1451 * 0.875 + 0.5879)
    assert spent_ns > 0
    silent, _ = Probe(root, (0,)).read(ask_firmware=False)
    assert (silent.cpu_hz, silent.throttled_bits, silent.power_w) == (1_800_000_000, None, None)


def test_a_machine_without_any_of_it_gives_empty_readings(tmp_path: Path) -> None:
    reading, _ = Probe(tmp_path, ()).read(ask_firmware=True)
    assert (reading.cpu_hz, reading.temperature_c, reading.throttled_bits, reading.steal_ns) == (None,) * 4


def test_it_watches_from_the_beginning_to_the_end_and_counts_what_it_costs(tmp_path: Path) -> None:
    watch = Monitor(Probe(make_board(tmp_path), (0,)), Budget())
    assert watch.seconds_to_next() is None
    watch.begin()
    wait_s = watch.seconds_to_next()
    assert wait_s is not None
    assert monitor.SHORTEST_PERIOD_S * 0.5 < wait_s <= monitor.LONGEST_PERIOD_S
    readings = watch.end()
    assert len(readings) == 2
    assert readings[0].taken_ns < readings[1].taken_ns
    assert 0 < watch.cpu_ns < 100_000_000
    assert watch.watched_ns > 0
    assert watch.seconds_to_next() is None


def test_readings_are_as_far_apart_as_their_cost_demands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Monitor(Probe(make_board(tmp_path), (0,)), Budget())
    spent = iter([0, 2_000_000] * 2)
    monkeypatch.setattr(time, "process_time_ns", lambda: next(spent))
    watch.begin()
    wait_s = watch.seconds_to_next()
    assert wait_s is not None
    assert 0.4 < wait_s <= 0.5  # 2 ms are 0.4 % of that


def test_the_firmware_is_asked_only_when_there_is_room_for_its_price() -> None:
    budget = Budget()
    assert not budget.allows_firmware()
    budget._begun -= 10
    assert budget.allows_firmware()
    budget.spend(30_000_000, with_firmware=True)
    assert not budget.allows_firmware()
