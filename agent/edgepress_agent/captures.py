"""What a board says of itself, word for word: for a bug report, a test case or a new device profile."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Dict, Tuple

from edgepress_agent import vcgencmd
from edgepress_agent.board_state import read_text
from edgepress_agent.protocol.messages import Captures

LIMIT_CHARACTERS = 64 << 10  # of one file

_FILES = (
    "etc/os-release",
    "etc/rpi-issue",
    "proc/cpuinfo",
    "proc/cmdline",
    "proc/device-tree/compatible",
    "proc/device-tree/model",
    "proc/loadavg",
    "proc/meminfo",
    "proc/pressure/cpu",
    "proc/pressure/memory",
    "proc/stat",
    "proc/swaps",
    "proc/version",
    "proc/vmstat",
    "sys/class/dmi/id/product_name",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/hwmon/hwmon*/name",
    "sys/class/hwmon/hwmon*/in0_lcrit_alarm",
    "sys/class/thermal/thermal_zone*/temp",
    "sys/class/thermal/thermal_zone*/type",
    "sys/class/thermal/cooling_device*/cur_state",
    "sys/class/thermal/cooling_device*/type",
    "sys/devices/platform/soc*/*firmware*/get_throttled",
    "sys/devices/platform/*firmware*/get_throttled",
    "sys/devices/system/clocksource/clocksource0/available_clocksource",
    "sys/devices/system/cpu/cpu*/cache/index*/size",
    "sys/devices/system/cpu/cpu*/cache/index*/level",
    "sys/devices/system/cpu/cpu*/cache/index*/type",
    "sys/devices/system/cpu/cpu*/cpu_capacity",
    "sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq",
    "sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_min_freq",
    "sys/devices/system/cpu/cpu*/cpufreq/scaling_available_frequencies",
    "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq",
    "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
)
_FIRMWARE = (
    ("get_throttled",),
    ("measure_temp",),
    ("measure_clock", "arm"),
    ("measure_volts", "core"),
    ("pmic_read_adc",),
    ("version",),
)
_PROGRAMS = (("uname", "-a"), ("getconf", "LONG_BIT"), ("getconf", "GNU_LIBC_VERSION"))

# Serial numbers are the board's own business, in cpuinfo and on the kernel's command line; so are its addresses.
_PRIVATE = re.compile(r"(?im)^(serial\s*:\s*).+$|((?:serial\w*|smsc95xx\.macaddr|bcm2708_fb\.\w+|root|host\w*|ip)=)\S+")


def read_captures(root: Path = Path("/")) -> Captures:
    """Read what is there; what is not there is left out."""
    files: Dict[str, str] = {}
    for pattern in _FILES:
        for path in sorted(root.glob(pattern)):
            text = read_text(path)
            if text is not None:
                files[str(path.relative_to(root))] = without_private(text[:LIMIT_CHARACTERS])
    commands: Dict[str, str] = {}
    firmware = vcgencmd.find(root)
    for words in _FIRMWARE if firmware else ():
        commands[" ".join(("vcgencmd", *words))] = vcgencmd.ask(str(firmware), *words)[0]
    for words in _PROGRAMS:
        commands[" ".join(words)] = without_private(_output(words))
    return Captures(files, commands)


def without_private(text: str) -> str:
    """Return a text with serial numbers and addresses replaced by ``[removed]``."""
    return _PRIVATE.sub(lambda match: f"{match.group(1) or match.group(2)}[removed]", text)


def _output(words: Tuple[str, ...]) -> str:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)  # noqa: S603 - commands of a list of ours
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}"
    text = done.stdout.decode("utf-8", "replace").strip()
    return re.sub(r"^(\S+) \S+ ", r"\1 [removed] ", text) if words == ("uname", "-a") else text
