"""What would spoil a measurement, and the remedy."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgepress.devices.inventory import DeviceConfig
from edgepress.devices.profiles import fitting_profile, load_profile
from edgepress.devices.readiness import SET_GOVERNOR, Spoiler, find_spoilers
from edgepress_agent.protocol.messages import Runtime
from support.table_rows import FACTS

PI4 = load_profile("raspberry-pi-4b")
CONFIG = DeviceConfig(name="pi4", target="pi@pi4", profile="raspberry-pi-4b")
TFLITE = Runtime("tflite-runtime", "2.14.0", "3.11.2", "1.26.4", "/usr/bin/python3")


def spoilers(config: DeviceConfig = CONFIG, **changes: Any) -> list[Spoiler]:
    return list(find_spoilers(dataclasses.replace(FACTS, **changes), config, PI4))


def test_nothing_is_said_of_a_board_that_is_ready() -> None:
    assert spoilers() == []


@pytest.mark.parametrize(
    ("code", "remedy", "changes"),
    [
        ("governor", SET_GOVERNOR, {"governor": "ondemand"}),
        ("warm", "heat sink", {"temperature_c": 61.0}),
        ("throttled", "power supply", {"throttled_bits": 0x50005}),
        ("throttled-before", "sudo reboot", {"throttled_bits": 0x50000}),
        ("load", "top", {"load_1min": 1.3}),
        ("clock", "arm_freq", {"cpu_max_hz": 1_500_000_000}),
        ("int8-without-delegate", "device provision pi4 --runtime ai-edge-litert", {"runtimes": (TFLITE,)}),
        ("32-bit-userland", "64-bit image", {"pointer_bits": 32}),
        ("small-memory", "systemctl", {"memory_total_bytes": 430 << 20}),
        ("emulated", "on a board", {"emulated": True}),
        ("no-identity", "a name of its own", {"physical_id": None}),
        ("profile", "--profile raspberry-pi-5", {"compatible": ("raspberrypi,5-model-b", "brcm,bcm2712")}),
    ],
)
def test_each_spoiler_comes_with_its_remedy(code: str, remedy: str, changes: dict[str, Any]) -> None:
    found = {spoiler.code: spoiler for spoiler in spoilers(**changes)}
    assert remedy in found[code].remedy


def test_a_sudo_that_was_allowed_is_no_task_for_the_user() -> None:
    (spoiler,) = spoilers(CONFIG.model_copy(update={"allow_sudo": True}), governor="ondemand")
    assert "as you allowed" in spoiler.remedy


def test_the_soft_limit_of_a_3b_plus_counts() -> None:
    warm = dataclasses.replace(FACTS, temperature_c=60.0, compatible=("raspberrypi,3-model-b-plus",))
    config = CONFIG.model_copy(update={"profile": "raspberry-pi-3b-plus"})
    assert "warm" in [one.code for one in find_spoilers(warm, config, load_profile("raspberry-pi-3b-plus"))]


@pytest.mark.parametrize(
    ("compatible", "profile"),
    [
        (("raspberrypi,5-model-b", "brcm,bcm2712"), "raspberry-pi-5"),
        (("raspberrypi,500", "brcm,bcm2712"), "raspberry-pi-500"),
        (("raspberrypi,400", "brcm,bcm2711"), "raspberry-pi-400"),
        (("raspberrypi,4-compute-module", "brcm,bcm2711"), "raspberry-pi-cm4"),
        (("raspberrypi,model-zero-2-w", "brcm,bcm2837"), "raspberry-pi-zero-2-w"),
        (("raspberrypi,3-model-b-plus", "brcm,bcm2837"), "raspberry-pi-3b-plus"),
        (("radxa,rock-5b", "rockchip,rk3588"), "generic-arm64"),
    ],
)
def test_the_device_tree_names_the_profile(compatible: tuple[str, ...], profile: str) -> None:
    assert fitting_profile(dataclasses.replace(FACTS, compatible=compatible)) == profile


def test_a_workstation_has_no_fitting_profile() -> None:
    assert fitting_profile(dataclasses.replace(FACTS, machine="x86_64", compatible=())) is None
