from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent import memory
from edgepress_agent.memory import parse_status, proportional_bytes, read_status, reset_peak

STATUS = """Name:\tpython3
Umask:\t0022
VmPeak:\t   52272 kB
VmHWM:\t   12416 kB
VmRSS:\t   12032 kB
VmSwap:\t     128 kB
Threads:\t1
Cpus_allowed_list:\t0-3
nonvoluntary_ctxt_switches:\t4
"""


def test_sizes_are_read_in_bytes_and_other_lines_left_alone() -> None:
    assert parse_status(STATUS) == {
        "VmPeak": 52272 * 1024,
        "VmHWM": 12416 * 1024,
        "VmRSS": 12032 * 1024,
        "VmSwap": 128 * 1024,
    }


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(size >= 0 for size in parse_status(text).values())


def touched(size: int) -> mmap.mmap:
    """Memory fresh from the kernel, every page written: malloc may hand out pages that the process has already."""
    memory = mmap.mmap(-1, size)
    for offset in range(0, size, mmap.PAGESIZE):
        memory[offset] = 1
    return memory


def test_the_peak_can_be_reset_and_then_sees_what_is_allocated_next() -> None:
    touched(64 << 20).close()
    assert reset_peak()
    before = read_status()
    assert before["VmHWM"] < before["VmRSS"] + (8 << 20)
    memory = touched(32 << 20)
    grown = read_status()["VmHWM"] - before["VmHWM"]
    memory.close()
    assert 28 << 20 < grown < 40 << 20


@pytest.mark.parametrize("kernel", ["has smaps_rollup", "has none"])
def test_the_proportional_size_is_no_more_than_the_resident_one(
    kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "has none":  # psutil sums up smaps
        monkeypatch.setattr(memory, "_SELF", tmp_path)
    proportional = proportional_bytes()
    assert proportional is not None
    assert 1 << 20 < proportional < parse_status(Path("/proc/self/status").read_text())["VmHWM"] + (4 << 20)
