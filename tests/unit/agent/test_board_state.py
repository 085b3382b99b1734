from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.board_state import parse_meminfo, read_board_state, read_max_hz
from edgepress_agent.monitor import Probe
from edgepress_agent.vcgencmd import parse_throttled


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_raspberry_pi_is_read_from_its_files(tmp_path: Path) -> None:
    state = read_board_state(
        write(
            tmp_path,
            {
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000\n",
                "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
                "sys/class/thermal/thermal_zone0/temp": "48312\n",
                "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
                "proc/meminfo": "MemTotal:        3884368 kB\nMemFree:         1 kB\nMemAvailable:    3456789 kB\n",
            },
        )
    )
    assert (state.governor, state.cpu_hz) == ("ondemand", 1_800_000_000)
    assert state.temperature_c == 48.312
    assert state.throttled_bits == 0x50005
    assert state.memory_available_bytes == 3456789 * 1024


BIG_LITTLE = {0: (1_000_000, 1_800_000), 1: (1_800_000, 1_800_000), 2: (2_300_000, 2_400_000), 3: (600_000, 2_400_000)}


@pytest.mark.parametrize(
    ("cpus", "hz"),
    [((0,), 1_000_000_000), ((2,), 2_300_000_000), ((2, 3), 600_000_000), ((1, 2), 2_300_000_000), ((), 2_300_000_000)],
)
def test_the_clock_is_that_of_the_workers_fastest_cpus_or_the_highest_where_it_may_be_on_any(
    tmp_path: Path, cpus: tuple[int, ...], hz: int
) -> None:
    for cpu, (now, most) in BIG_LITTLE.items():
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        write(tmp_path, {f"{folder}/scaling_cur_freq": f"{now}\n", f"{folder}/cpuinfo_max_freq": f"{most}\n"})
    assert read_board_state(tmp_path, cpus).cpu_hz == hz
    assert Probe(tmp_path, cpus).read(ask_firmware=False)[0].cpu_hz == hz
    assert read_max_hz(tmp_path) == 2_400_000_000


@pytest.mark.parametrize(
    ("cpus", "governor"), [((0, 1), "performance"), ((10,), "schedutil"), ((1, 10), "performance+schedutil")]
)
def test_the_governor_is_that_of_the_workers_cpus_or_of_all_where_it_may_be_on_any(
    tmp_path: Path, cpus: tuple[int, ...], governor: str
) -> None:
    for cpu, name in ((0, "performance"), (1, "performance"), (10, "schedutil")):
        write(tmp_path, {f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": f"{name}\n"})
    assert read_board_state(tmp_path, cpus).governor == governor
    assert read_board_state(tmp_path).governor == "performance+schedutil"


def test_what_a_board_does_not_tell_is_none_and_not_zero(tmp_path: Path) -> None:
    state = read_board_state(tmp_path)
    assert (state.governor, state.cpu_hz, state.temperature_c, state.throttled_bits) == (None, None, None, None)


def test_the_temperature_is_that_of_the_cpu_where_zones_say_what_they_are(tmp_path: Path) -> None:
    zones = {"0": ("wifi", "30000"), "1": ("acpitz", "40000"), "2": ("cpu-thermal", "50000")}
    for number, (kind, temperature) in zones.items():
        folder = f"sys/class/thermal/thermal_zone{number}"
        write(tmp_path, {f"{folder}/type": kind, f"{folder}/temp": temperature})
    assert read_board_state(tmp_path).temperature_c == 50.0


def test_a_zone_that_cannot_be_read_gives_way_to_the_next(tmp_path: Path) -> None:
    write(
        tmp_path, {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone1/temp": "-5"}
    )
    assert read_board_state(tmp_path).temperature_c == -0.005


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("throttled=0x0\n", 0),
        ("throttled=0x50005", 0x50005),
        ("", None),
        ("VCHI initialization failed", None),
        ("Can't open device file: /dev/vcio", None),
        ("throttled=0x", None),
        ('error=1 error_msg="Command not registered"', None),
    ],
)
def test_only_the_firmwares_own_answer_counts_as_known(text: str, bits: int | None) -> None:
    assert parse_throttled(text) == bits


@given(st.text())
def test_any_text_is_taken_for_what_it_is(text: str) -> None:
    assert parse_throttled(text) is None or text.strip().startswith("throttled=0x")
    assert parse_meminfo(text, "MemTotal") >= 0
