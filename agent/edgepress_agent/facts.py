"""What can be read of the board without asking anybody for permission."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import struct
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from edgepress_agent.board_state import (
    parse_meminfo,
    read_governor,
    read_max_hz,
    read_temperature_c,
    read_text,
    read_throttled_bits,
)
from edgepress_agent.home import Home
from edgepress_agent.identity import emulated, physical_id
from edgepress_agent.protocol.messages import DeviceFacts
from edgepress_agent.runtimes import find_runtimes

# Of a kernel whose clock counts instructions, as `edgepress emulator create --count-instructions` makes it.
_INSTRUCTION_CLOCK = "edgepress.clock=instructions"


def read_facts(home: Home, root: Optional[Path] = None) -> DeviceFacts:
    """Read the facts. ``root`` is where ``/proc``, ``/sys`` and ``/etc`` are; None: where the home says."""
    root = home.system if root is None else root
    machine = platform.machine()
    cpuinfo = parse_cpuinfo(read_text(root / "proc/cpuinfo") or "")
    compatible = parse_strings(read_text(root / "proc/device-tree/compatible"))
    model = read_text(root / "proc/device-tree/model") or read_text(root / "sys/class/dmi/id/product_name")
    if _INSTRUCTION_CLOCK in (read_text(root / "proc/cmdline") or "").split():
        model = f"{model}, where 1 ns is 1 instruction"
    system = parse_os_release(read_text(root / "etc/os-release") or "")
    identity, identity_source = physical_id(root)
    return DeviceFacts(
        machine=machine,
        pointer_bits=8 * struct.calcsize("P"),
        model=model,
        compatible=compatible,
        cpu_model=cpuinfo.model,
        cpu_parts=cpuinfo.parts,
        cpu_features=cpuinfo.features,
        cpu_count=os.cpu_count() or 1,
        cpu_max_hz=read_max_hz(root),
        governor=read_governor(root),
        memory_total_bytes=parse_meminfo(read_text(root / "proc/meminfo") or "", "MemTotal"),
        disk_free_bytes=disk_free_bytes(home.root),
        kernel=platform.release(),
        os_id=system.get("ID"),
        os_version=system.get("VERSION_ID"),
        libc=libc(),
        python_version=platform.python_version(),
        has_venv=all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
        physical_id=identity,
        physical_id_source=identity_source,
        boot_id=read_text(root / "proc/sys/kernel/random/boot_id"),
        emulated=emulated(root, machine, compatible, cpuinfo.model),
        temperature_c=read_temperature_c(root),
        throttled_bits=read_throttled_bits(root),
        load_1min=os.getloadavg()[0],
        runtimes=find_runtimes(home),
    )


class CpuInfo:
    """What ``/proc/cpuinfo`` says: model name, distinct ARM part numbers in order, features of the first CPU."""

    def __init__(self, model: Optional[str], parts: Tuple[str, ...], features: Tuple[str, ...]) -> None:
        self.model = model
        self.parts = parts
        self.features = features


def parse_cpuinfo(text: str) -> CpuInfo:
    """Read cpuinfo of ARM ("CPU part", "Features") and of x86 ("model name", "flags")."""
    model: Optional[str] = None
    parts: List[str] = []
    features: Tuple[str, ...] = ()
    for line in text.splitlines():
        name, _, value = (word.strip() for word in line.partition(":"))
        if name == "model name" and model is None:
            model = value
        elif name == "CPU part" and value.lower() not in parts:
            parts.append(value.lower())
        elif name in ("Features", "flags") and not features:
            features = tuple(value.split())
    return CpuInfo(model, tuple(parts), features)


def parse_strings(text: Optional[str]) -> Tuple[str, ...]:
    """Read a device tree's list of strings, which NULs separate."""
    return tuple(word for word in (text or "").split("\0") if word)


def parse_os_release(text: str) -> Dict[str, str]:
    """Read ``/etc/os-release``: shell assignments, possibly quoted."""
    fields = {}
    for line in text.splitlines():
        match = re.fullmatch(r"""\s*([A-Z0-9_]+)=(["']?)(.*)\2\s*""", line)
        if match:
            fields[match.group(1)] = match.group(3)
    return fields


def libc() -> Optional[str]:
    """Return e.g. "glibc 2.36"; None with another libc."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None


def disk_free_bytes(path: Path) -> int:
    """Return what an unprivileged user may still write where ``path`` is or will be."""
    while not path.exists():
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
