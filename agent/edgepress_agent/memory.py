"""Memory of this process, from ``/proc/self``.

Peaks are VmHWM: ``ru_maxrss`` of a process that was started by a bigger one is the bigger one's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Optional

_SELF = Path("/proc/self")


def parse_status(text: str) -> Dict[str, int]:
    """Return the "kB" fields of ``/proc/<pid>/status`` or ``smaps_rollup`` in bytes: ``{"VmHWM": 12713984, ...}``."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            fields[name] = int(words[0]) * 1024
    return fields


def read_status() -> Dict[str, int]:
    """Return VmRSS, VmHWM, VmSwap and the like of this process, bytes."""
    return parse_status((_SELF / "status").read_text())


def reset_peak() -> bool:
    """Let VmHWM start again at the present VmRSS. False where the kernel does not offer or allow it."""
    try:
        (_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def mapped_bytes(path: str) -> Optional[int]:
    """Return how much of a file that this process has mapped is resident; None where ``smaps`` cannot be read."""
    try:
        return parse_smaps((_SELF / "smaps").read_text(errors="replace"), path)
    except OSError:
        return None


def parse_smaps(text: str, path: str) -> int:
    """Return the Rss of all mappings of one file in ``/proc/<pid>/smaps``, bytes."""
    total, ours = 0, False
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if words and not words[0].endswith(":"):  # address range, permissions, offset, device, inode, path
            ours = len(words) == 6 and words[5] == path
        elif ours and words[0] == "Rss:":
            total += int(words[1]) * 1024
    return total


def proportional_bytes() -> Optional[int]:
    """Return the proportional set size, or None where psutil or the kernel cannot tell. Takes milliseconds."""
    try:
        return parse_status((_SELF / "smaps_rollup").read_text(errors="replace"))["Pss"]
    except (OSError, KeyError):  # a kernel before 4.14
        pass
    try:
        import psutil  # only now: it is some MiB itself
    except ImportError:
        return None
    try:
        return int(psutil.Process().memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return None
