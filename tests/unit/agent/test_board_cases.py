"""What boards said of themselves, captured or documented (``tests/cases/boards``), read by the agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgepress_agent.facts import parse_cpuinfo, parse_os_release, parse_strings
from edgepress_agent.identity import emulated
from edgepress_agent.vcgencmd import parse_throttled

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


def test_the_documented_answer_of_the_firmware_is_read(tmp_path: Path) -> None:
    assert parse_throttled(load("raspberry-pi-4b", tmp_path)["commands"]["vcgencmd get_throttled"]) == 0x50005
