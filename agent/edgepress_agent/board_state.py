"""The board's condition at one moment: governor, clock, temperature, throttling, load. For outside timed parts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Optional

from edgepress_agent.protocol.messages import BoardState

_ROOT = Path("/")
_CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
_THROTTLED_FILES = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc@*/*firmware*/get_throttled",
    "sys/devices/platform/*/*firmware*/get_throttled",
)
_CPU_ZONES = ("cpu", "soc", "x86_pkg_temp", "acpitz")  # beginnings of thermal zone types, best first
_VCGENCMD_TIMEOUT_S = 2.0


def read_board_state(root: Path = _ROOT) -> BoardState:
    """Take a reading. What cannot be read is None. With ``vcgencmd`` it costs some milliseconds of CPU."""
    return BoardState(
        taken_unix_ns=time.time_ns(),
        governor=read_governor(root),
        cpu_hz=read_cpu_hz(root, "scaling_cur_freq"),
        temperature_c=read_temperature_c(root),
        throttled_bits=read_throttled_bits(root),
        load_1min=os.getloadavg()[0],
        memory_available_bytes=parse_meminfo(read_text(root / "proc/meminfo") or "", "MemAvailable"),
    )


def read_text(path: Path) -> Optional[str]:
    """Return what a file of the kernel says, without trailing NULs and white space; None if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").rstrip("\0\n ") or None
    except OSError:
        return None


def read_governor(root: Path = _ROOT) -> Optional[str]:
    return read_text(root / _CPUFREQ / "scaling_governor")


def read_cpu_hz(root: Path, name: str) -> Optional[int]:
    """Return a frequency of the first CPU (``scaling_cur_freq``, ``cpuinfo_max_freq``), which files give in kHz."""
    text = read_text(root / _CPUFREQ / name)
    return int(text) * 1000 if text and text.isdigit() else None


def read_temperature_c(root: Path = _ROOT) -> Optional[float]:
    """Return the CPU's temperature: of the thermal zone whose type says so, else of the first one."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    ranked = sorted(zones, key=lambda zone: _zone_rank(read_text(zone / "type") or ""))
    for zone in ranked:
        text = read_text(zone / "temp")
        if text and re.fullmatch(r"-?\d+", text):
            return int(text) / 1000
    return None


def read_throttled_bits(root: Path = _ROOT) -> Optional[int]:
    """Return what the Raspberry Pi's firmware says of under-voltage and throttling, from sysfs or ``vcgencmd``."""
    for pattern in _THROTTLED_FILES:
        for path in root.glob(pattern):
            text = read_text(path)
            if text and re.fullmatch(r"(0x)?[0-9a-fA-F]+", text):
                return int(text, 16)
    program = shutil.which("vcgencmd")
    if program is None or root != _ROOT:
        return None
    try:
        answer = subprocess.run(
            [program, "get_throttled"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VCGENCMD_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_throttled(answer.stdout.decode("utf-8", "replace"))


def parse_throttled(text: str) -> Optional[int]:
    """Read ``throttled=0x50005``. Anything else, such as a refused ``/dev/vcio``, is None: unknown, not zero."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", text.strip())
    return int(match.group(1), 16) if match else None


def parse_meminfo(text: str, field: str) -> int:
    """Return a field of ``/proc/meminfo`` in bytes; 0 when it is not there."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def _zone_rank(kind: str) -> int:
    return next((rank for rank, start in enumerate(_CPU_ZONES) if kind.startswith(start)), len(_CPU_ZONES))
