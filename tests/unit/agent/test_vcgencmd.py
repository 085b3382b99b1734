"""What the firmware answers, in the forms that documents and boards show."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent import vcgencmd

# raspberrypi/documentation, graphics-utilities.adoc, and a Raspberry Pi 5 whose firmware numbers its channels.
NUMBERED = """ 3V7_WL_SW_A current(0)=0.00195177A
   3V3_SYS_A current(1)=0.07319154A
  VDD_CORE_A current(7)=0.51172000A
   3V7_WL_SW_V volt(8)=3.71947800V
   3V3_SYS_V volt(9)=3.31311000V
  VDD_CORE_V volt(15)=0.72050240V
     EXT5V_V volt(24)=5.15010000V
      BATT_V volt(25)=0.00000000V
"""
SIMPLE = "VDD_CORE_A=1.0A\nVDD_CORE_V=0.8750V\nEXT5V_V=5.1V\n"


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("throttled=0x0\n", 0),
        ("throttled=0x50005", 0x50005),
        ("throttled=0xe0008\n", 0xE0008),
        ("VCHI initialization failed\n", None),
        ("Can't open device file: /dev/vcio\n", None),
        ("", None),
    ],
)
def test_throttle_bits(text: str, bits: int | None) -> None:
    assert vcgencmd.parse_throttled(text) == bits


def test_the_clock_in_hertz_and_none_for_zero() -> None:
    assert vcgencmd.parse_clock("frequency(48)=1500398464\n") == 1_500_398_464
    assert vcgencmd.parse_clock("frequency(0)=0\n") is None


def test_power_is_the_sum_over_rails_that_have_both_voltage_and_current() -> None:
    rails = 0.00195177 * 3.719478 + 0.07319154 * 3.31311 + 0.51172 * 0.7205024
    assert vcgencmd.parse_power(NUMBERED) == pytest.approx(1.1451 * rails + 0.5879)
    assert vcgencmd.parse_power(SIMPLE) == pytest.approx(1.1451 * 0.875 + 0.5879)


def test_boards_without_a_power_chip_have_no_power() -> None:
    assert vcgencmd.parse_power('error=1 error_msg="Command not registered"') is None


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    for parse in (vcgencmd.parse_throttled, vcgencmd.parse_clock, vcgencmd.parse_power):
        parse(text)


def test_a_program_that_fails_or_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert vcgencmd.find(tmp_path) is None
    program = tmp_path / "usr/bin/vcgencmd"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho throttled=0x0\nexit 255\n")
    assert vcgencmd.find(tmp_path) is None  # not executable
    program.chmod(0o755)
    assert vcgencmd.find(tmp_path) == str(program)
    assert vcgencmd.ask(str(program), "get_throttled")[0] == ""
