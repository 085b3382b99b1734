"""The board's condition at one moment: governor, clock, temperature, throttling, load. For outside timed parts."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Iterable, List, Optional, Sequence

from edgepress_agent import vcgencmd
from edgepress_agent.protocol.messages import BoardState

_ROOT = Path("/")
_CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq"
_THROTTLED_FILES = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc@*/*firmware*/get_throttled",
    "sys/devices/platform/*/*firmware*/get_throttled",
)
_CPU_ZONES = ("cpu", "soc", "x86_pkg_temp", "acpitz")  # beginnings of thermal zone types, best first


def read_board_state(root: Path = _ROOT, cpus: Sequence[int] = ()) -> BoardState:
    """Take a reading. What cannot be read is None. With ``vcgencmd`` it costs some milliseconds of CPU.

    Args:
        cpus: a worker's, whose clock and governor are read; none: it has no CPUs of its own.
    """
    return BoardState(
        taken_unix_ns=time.time_ns(),
        governor=read_governor(root, cpus),
        cpu_hz=Clock(root, cpus).read_hz(),
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


def read_governor(root: Path = _ROOT, cpus: Sequence[int] = ()) -> Optional[str]:
    """Return the governor of CPUs, none: of all; where theirs differ, each of them, with ``+`` between."""
    folders = [root / _CPUFREQ.format(cpu) for cpu in cpus] or root.glob(_CPUFREQ.format("*"))
    return "+".join(sorted(set(filter(None, (read_text(one / "scaling_governor") for one in folders))))) or None


def governors_of(states: Iterable[BoardState]) -> List[str]:
    """Return the governors in all of the readings, each once, by name."""
    return sorted({name for state in states if state.governor is not None for name in state.governor.split("+")})


def read_max_hz(root: Path) -> Optional[int]:
    """Return the highest clock of the fastest CPU."""
    return max(filter(None, map(_max_hz, root.glob(_CPUFREQ.format("*")))), default=None)


class Clock:
    """The clock that a worker runs at: its files are found once, and read often.

    Of CPUs of several kinds (big.LITTLE) the fastest ones count. Of a worker's own it is the lowest clock. A worker
    without any may be on each CPU of the board, and the others idle: it is the highest.
    """

    def __init__(self, root: Path, cpus: Sequence[int]) -> None:
        folders = [root / _CPUFREQ.format(cpu) for cpu in cpus] or sorted(root.glob(_CPUFREQ.format("*")))
        highest = [_max_hz(folder) or 0 for folder in folders]
        fastest = [folder for folder, hz in zip(folders, highest) if hz == max(highest)]
        self._files = [folder / "scaling_cur_freq" for folder in fastest]
        self._choose = min if cpus else max

    def read_hz(self) -> Optional[int]:
        """Return the clock; None: the kernel does not say."""
        return self._choose(filter(None, map(_read_hz, self._files)), default=None)


def read_temperature_c(root: Path = _ROOT) -> Optional[float]:
    """Return the CPU's temperature: of the thermal zone whose type says so, else of the first one."""
    path = temperature_file(root)
    return parse_millidegrees(read_text(path)) if path else None


def temperature_file(root: Path = _ROOT) -> Optional[Path]:
    """Return the file that holds the CPU's temperature."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    ranked = sorted(zones, key=lambda zone: _zone_rank(read_text(zone / "type") or ""))
    files = (zone / "temp" for zone in ranked)
    return next((file for file in files if parse_millidegrees(read_text(file)) is not None), None)


def parse_millidegrees(text: Optional[str]) -> Optional[float]:
    """Read a thermal zone's ``temp``: thousandths of a degree Celsius."""
    return int(text) / 1000 if text and re.fullmatch(r"-?\d+", text) else None


def read_throttled_bits(root: Path = _ROOT) -> Optional[int]:
    """Return what the Raspberry Pi's firmware says of under-voltage and throttling, from sysfs or ``vcgencmd``."""
    path = throttled_file(root)
    if path is not None:
        return parse_throttled_file(read_text(path))
    program = vcgencmd.find(root)
    return vcgencmd.parse_throttled(vcgencmd.ask(program, "get_throttled")[0]) if program else None


def throttled_file(root: Path = _ROOT) -> Optional[Path]:
    """Return the file that holds the firmware's bits; its place depends on board and kernel."""
    found = (path for pattern in _THROTTLED_FILES for path in sorted(root.glob(pattern)))
    return next((path for path in found if parse_throttled_file(read_text(path)) is not None), None)


def parse_throttled_file(text: Optional[str]) -> Optional[int]:
    """Read ``50005`` or ``0x50005``, hexadecimal."""
    return int(text, 16) if text and re.fullmatch(r"(0x)?[0-9a-fA-F]+", text) else None


def parse_meminfo(text: str, field: str) -> int:
    """Return a field of ``/proc/meminfo`` in bytes; 0 when it is not there."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def _max_hz(cpufreq: Path) -> Optional[int]:
    return _read_hz(cpufreq / "cpuinfo_max_freq")


def _read_hz(path: Path) -> Optional[int]:
    """Read a frequency, which these files give in kHz."""
    text = read_text(path)
    return int(text) * 1000 if text and text.isdigit() else None


def _zone_rank(kind: str) -> int:
    return next((rank for rank, start in enumerate(_CPU_ZONES) if kind.startswith(start)), len(_CPU_ZONES))
