"""What a board says of itself, without what is its own business."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_agent.captures import read_captures, without_private
from support.made_up_board import add_vcgencmd, make_board


def test_files_and_firmware_are_captured_word_for_word_without_the_serial_number(tmp_path: Path) -> None:
    root = make_board(tmp_path)
    add_vcgencmd(root, get_throttled="throttled=0x0")
    found = read_captures(root)
    assert found.files["proc/device-tree/model"] == "Raspberry Pi 4 Model B Rev 1.5"
    assert found.files["sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"] == "ondemand"
    assert found.commands["vcgencmd get_throttled"] == "throttled=0x0\n"
    assert found.commands["vcgencmd pmic_read_adc"] == ""
    assert "100000003d1d1c36" not in str(found)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Serial\t\t: 100000003d1d1c36", "Serial\t\t: [removed]"),
        ("quiet smsc95xx.macaddr=DC:A6:32:01:02:03 ro", "quiet smsc95xx.macaddr=[removed] ro"),
        ("root=PARTUUID=738a4d67-02 rw", "root=[removed] rw"),
        ("Features : fp asimd", "Features : fp asimd"),
    ],
)
def test_numbers_that_name_one_board_are_removed(text: str, clean: str) -> None:
    assert without_private(text) == clean
