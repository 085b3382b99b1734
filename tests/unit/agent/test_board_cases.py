"""What boards said of themselves, captured or documented (``tests/cases/boards``), read by the agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepress.devices.profiles import fitting_profile, load_profile
from edgepress_agent.facts import parse_cpuinfo, parse_os_release, parse_strings
from edgepress_agent.identity import emulated
from edgepress_agent.vcgencmd import parse_throttled
from support.table_rows import FACTS

CASES = Path(__file__).parents[2] / "cases" / "boards"


def load(name: str, root: Path) -> dict[str, Any]:
    """Lay a board's files out under ``root``; return the case."""
    case: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    for path, text in case["files"].items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return case


@pytest.mark.parametrize("name", [file.stem for file in CASES.glob("*.json")])
def test_every_case_says_where_it_is_from(name: str, tmp_path: Path) -> None:
    case = load(name, tmp_path)
    assert case["source"]
    assert "proc/cpuinfo" in case["files"]


@pytest.mark.parametrize(
    ("name", "part", "has_dot_product"),
    [
        ("qemu-cortex-a53", "0xd03", False),
        ("qemu-cortex-a72", "0xd08", False),
        ("qemu-cortex-a76", "0xd0b", True),
        ("raspberry-pi-zero-2-w", "0xd03", False),
        ("raspberry-pi-3b-plus", "0xd03", False),
        ("raspberry-pi-4b", "0xd08", False),
        ("raspberry-pi-4b-32-bit", "0xd08", False),
        ("raspberry-pi-5", "0xd0b", True),
    ],
)
def test_the_core_is_known_by_its_part_and_features(
    name: str, part: str, has_dot_product: bool, tmp_path: Path
) -> None:
    cpu = parse_cpuinfo(load(name, tmp_path)["files"]["proc/cpuinfo"])
    assert cpu.parts == (part,)
    assert ("asimddp" in cpu.features) is has_dot_product


@pytest.mark.parametrize("name", [file.stem for file in CASES.glob("*.json")])
def test_only_boards_of_qemu_are_emulated(name: str, tmp_path: Path) -> None:
    files = load(name, tmp_path)["files"]
    cpu = parse_cpuinfo(files["proc/cpuinfo"])
    compatible = parse_strings(files["proc/device-tree/compatible"])
    assert emulated(tmp_path, "aarch64", compatible, cpu.model) is name.startswith("qemu-")


def test_an_emulated_boards_system_is_debian(tmp_path: Path) -> None:
    system = parse_os_release(load("qemu-cortex-a72", tmp_path)["files"]["etc/os-release"])
    assert (system["ID"], system["VERSION_ID"]) == ("debian", "12")


@pytest.mark.parametrize(("name", "bits"), [("raspberry-pi-4b", 0x50005), ("raspberry-pi-3b-plus", 0x80008)])
def test_the_documented_answer_of_the_firmware_is_read(name: str, bits: int, tmp_path: Path) -> None:
    assert parse_throttled(load(name, tmp_path)["commands"]["vcgencmd get_throttled"]) == bits


@pytest.mark.parametrize("name", [file.stem for file in CASES.glob("raspberry-pi-*.json")])
def test_each_board_fits_the_profile_that_has_its_name(name: str, tmp_path: Path) -> None:
    files = load(name, tmp_path)["files"]
    cpu = parse_cpuinfo(files["proc/cpuinfo"])
    facts = replace(
        FACTS,
        model=files["proc/device-tree/model"],
        compatible=parse_strings(files["proc/device-tree/compatible"]),
        cpu_parts=cpu.parts,
        cpu_features=cpu.features,
    )
    fitting = fitting_profile(facts)
    assert fitting == name.removesuffix("-32-bit")
    part = load_profile(fitting).cpu_part
    assert part is not None
    assert (part.value,) == cpu.parts
