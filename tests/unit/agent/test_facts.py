from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.facts import parse_cpuinfo, parse_os_release, parse_strings, read_facts
from edgepress_agent.home import Home

PI4_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
Features\t: fp asimd evtstrm crc32 cpuid
CPU part\t: 0xd08

Revision\t: d03115
Serial\t\t: 10000000abcdef01
Model\t\t: Raspberry Pi 4 Model B Rev 1.5
"""
ROCK5_CPUINFO = "".join(f"CPU part\t: {part}\n" for part in ("0xd05", "0xd05", "0xD0B", "0xd0b"))
PC_CPUINFO = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC: 7B13\nflags\t\t: fpu vme sse2\n"
BOOKWORM = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME='Debian GNU/Linux'
VERSION_ID="12"
ID=debian
HOME_URL="https://www.debian.org/"
# a comment
"""


def test_an_arm_cpu_is_known_by_its_part_and_features() -> None:
    cpu = parse_cpuinfo(PI4_CPUINFO)
    assert (cpu.model, cpu.parts) == (None, ("0xd08",))
    assert cpu.features == ("fp", "asimd", "evtstrm", "crc32", "cpuid")


def test_a_cpu_with_two_kinds_of_cores_has_two_parts() -> None:
    assert parse_cpuinfo(ROCK5_CPUINFO).parts == ("0xd05", "0xd0b")


def test_a_pc_is_known_by_its_model_name() -> None:
    cpu = parse_cpuinfo(PC_CPUINFO)
    assert (cpu.model, cpu.parts, cpu.features) == ("AMD EPYC: 7B13", (), ("fpu", "vme", "sse2"))


def test_os_release_is_read_with_and_without_quotes() -> None:
    fields = parse_os_release(BOOKWORM)
    assert (fields["ID"], fields["VERSION_ID"], fields["NAME"]) == ("debian", "12", "Debian GNU/Linux")


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse_cpuinfo(text)
    parse_os_release(text)
    assert all(parse_strings(text))


def test_a_raspberry_pi_is_read_from_its_device_tree(tmp_path: Path, home: Home) -> None:
    tree = tmp_path / "root" / "proc" / "device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.5\0")
    (tree / "compatible").write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    (tree / "serial-number").write_bytes(b"10000000abcdef01\0")
    (tree.parent / "cpuinfo").write_text(PI4_CPUINFO)
    facts = read_facts(home, tmp_path / "root")
    assert facts.model == "Raspberry Pi 4 Model B Rev 1.5"
    assert facts.compatible == ("raspberrypi,4-model-b", "brcm,bcm2711")
    assert facts.cpu_parts == ("0xd08",)
    assert facts.physical_id_source == "device-tree"
    assert not facts.emulated
    assert facts.os_id is None


def test_a_board_whose_clock_counts_instructions_says_so_in_its_name(tmp_path: Path, home: Home) -> None:
    tree = tmp_path / "root" / "proc" / "device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"linux,dummy-virt\0")
    (tree.parent / "cmdline").write_text("console=ttyAMA0 quiet edgepress.clock=instructions\n")
    assert read_facts(home, tmp_path / "root").model == "linux,dummy-virt, where 1 ns is 1 instruction"


def test_this_machine_tells_about_itself(home: Home) -> None:
    facts = read_facts(home)
    assert facts.machine == platform.machine()
    assert facts.pointer_bits == (64 if sys.maxsize > 2**32 else 32)
    assert facts.python_version == platform.python_version()
    assert facts.memory_total_bytes > 64 << 20
    assert facts.disk_free_bytes > 0
    assert facts.kernel == os.uname().release
    assert "ai-edge-litert" in [runtime.name for runtime in facts.runtimes]


def test_a_home_that_does_not_exist_yet_has_the_space_of_where_it_will_be(tmp_path: Path) -> None:
    facts = read_facts(Home(tmp_path / "not" / "yet" / "there"))
    assert facts.disk_free_bytes > 0
    assert list(tmp_path.iterdir()) == []
