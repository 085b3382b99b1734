from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_agent.identity import emulated, physical_id

SERIAL = "10000000abcdef01"
UUID = "3f8a9c1e-0000-4000-8000-abcdefabcdef"
MACHINE_ID = "0123456789abcdef0123456789abcdef"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_boards_own_number_comes_before_that_of_its_image(tmp_path: Path) -> None:
    write(tmp_path, {"etc/machine-id": MACHINE_ID + "\n"})
    image = physical_id(tmp_path)
    write(tmp_path, {"sys/class/dmi/id/product_uuid": UUID + "\n"})
    mainboard = physical_id(tmp_path)
    write(tmp_path, {"proc/device-tree/serial-number": SERIAL + "\0"})
    board = physical_id(tmp_path)
    assert [source for _, source in (image, mainboard, board)] == ["machine-id", "dmi", "device-tree"]
    assert len({identity for identity, _ in (image, mainboard, board)}) == 3


def test_the_number_itself_cannot_be_seen_in_the_identity(tmp_path: Path) -> None:
    identity, _ = physical_id(write(tmp_path, {"proc/device-tree/serial-number": SERIAL}))
    assert identity is not None
    assert len(identity) == 64
    assert SERIAL not in identity


@pytest.mark.parametrize(
    "nothing", ["", "0000000000000000", "ffffffff", "Default string", "To be filled by O.E.M.", "00000000-0000-0000"]
)
def test_what_a_maker_leaves_in_place_of_a_number_is_none(tmp_path: Path, nothing: str) -> None:
    write(tmp_path, {"proc/device-tree/serial-number": nothing, "sys/class/dmi/id/product_uuid": nothing})
    assert physical_id(tmp_path) == (None, None)


VIRT = ("linux,dummy-virt",)
CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"


@pytest.mark.parametrize(
    ("files", "machine", "compatible", "cpu_model", "expected"),
    [
        pytest.param({}, "aarch64", ("raspberrypi,4-model-b", "brcm,bcm2711"), None, False, id="a Raspberry Pi"),
        pytest.param({}, "aarch64", VIRT, None, True, id="QEMU virt on a PC"),
        pytest.param(
            {"sys/class/ptp/ptp0/clock_name": "KVM virtual PTP\n"},
            "aarch64",
            VIRT,
            None,
            False,
            id="KVM on an ARM server",
        ),
        pytest.param(
            {"sys/class/dmi/id/sys_vendor": "QEMU\n", CLOCKS: "kvm-clock tsc acpi_pm\n"},
            "x86_64",
            (),
            "Intel Xeon",
            False,
            id="a cloud's KVM",
        ),
        pytest.param(
            {"sys/class/dmi/id/sys_vendor": "QEMU\n", CLOCKS: "tsc hpet acpi_pm\n"}, "x86_64", (), None, True, id="TCG"
        ),
        pytest.param({}, "x86_64", (), "QEMU TCG CPU version 2.5+", True, id="TCG by its CPU's name"),
        pytest.param({"sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, "x86_64", (), "AMD EPYC", False, id="EC2"),
        pytest.param({"proc/cpuinfo": "vendor_id\t: GenuineIntel\n"}, "aarch64", (), None, True, id="user-mode QEMU"),
        pytest.param({"proc/cpuinfo": "vendor_id\t: GenuineIntel\n"}, "x86_64", (), None, False, id="a PC"),
    ],
)
def test_emulation_is_told_from_virtualization(
    tmp_path: Path,
    files: dict[str, str],
    machine: str,
    compatible: tuple[str, ...],
    cpu_model: str | None,
    expected: bool,
) -> None:
    assert emulated(write(tmp_path, files), machine, compatible, cpu_model) is expected
