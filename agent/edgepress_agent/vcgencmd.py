"""What the Raspberry Pi's firmware says through ``vcgencmd``, and how its answers read."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Optional, Tuple

TIMEOUT_S = 2.0

# What a Raspberry Pi 5 draws, from what its power chip measures: W = 1.1451 x sum(V x A) + 0.5879. A fit of the
# community's (github.com/jfikar/RPi5-power); devices on USB that the 5 V rail feeds are not in it.
_PMIC_SLOPE = 1.1451
_PMIC_OFFSET_W = 0.5879
_RAIL = re.compile(r"^\s*(\w+)_([AV])(?:\s+(?:current|volt)\(\d+\))?=(\d+(?:\.\d+)?)[AV]\s*$", re.MULTILINE)


def find(root: Path = Path("/")) -> Optional[str]:
    """Return the program's path; under another root only the one in ``usr/bin`` there."""
    if root == Path("/"):
        return shutil.which("vcgencmd")
    path = root / "usr/bin/vcgencmd"
    return str(path) if os.access(path, os.X_OK) else None


def ask(program: str, *arguments: str) -> Tuple[str, int]:
    """Run the program; return (its answer, empty if it failed; the CPU time it took, ns)."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the firmware's own program, words of ours
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return "", 0
    before = _children_ns()
    with process:
        try:
            answer, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            answer = b""
    spent_ns = _children_ns() - before
    return answer.decode("utf-8", "replace") if process.returncode == 0 else "", spent_ns


def _children_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # children that have ended: no worker ends meanwhile
    return round(1e9 * (usage.ru_utime + usage.ru_stime))


def parse_throttled(text: str) -> Optional[int]:
    """Read ``throttled=0x50005``. Anything else, such as a refused ``/dev/vcio``, is None: unknown, not zero."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", text.strip())
    return int(match.group(1), 16) if match else None


def parse_clock(text: str) -> Optional[int]:
    """Read ``frequency(48)=1500398464`` of ``measure_clock arm``: Hz, as it is and not as the kernel wished it."""
    match = re.fullmatch(r"frequency\(\d+\)=(\d+)", text.strip())
    return int(match.group(1)) or None if match else None


def parse_power(text: str) -> Optional[float]:
    """Read ``pmic_read_adc`` in both forms that firmwares print; return the board's power in W.

    Rails whose voltage or current is not measured (``EXT5V_V``, ``BATT_V``) do not count.
    """
    rails: Dict[str, Dict[str, float]] = {}
    for name, unit, value in _RAIL.findall(text):
        rails.setdefault(name, {})[unit] = float(value)
    products = [rail["V"] * rail["A"] for rail in rails.values() if len(rail) == 2]
    return _PMIC_SLOPE * sum(products) + _PMIC_OFFSET_W if products else None
