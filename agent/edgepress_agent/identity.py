"""Which physical board this is, and whether it is a physical board at all."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Optional, Tuple

from edgepress_agent.board_state import read_text

# Whatever a maker writes where a number should be.
_NO_SERIAL = re.compile(r"[0\-. ]*|f+|none|default string|not specified|to be filled.*|system serial number", re.I)


def physical_id(root: Path) -> Tuple[Optional[str], Optional[str]]:
    """Return (sha256 hex of the board's own number, where it was read), or (None, None).

    The number itself never leaves the board. First the device tree's serial number, then the DMI product uuid (which
    only root may read), then the machine id, which is that of the system image and not of the board.
    """
    sources = (
        ("device-tree", "proc/device-tree/serial-number"),
        ("device-tree", "sys/firmware/devicetree/base/serial-number"),
        ("dmi", "sys/class/dmi/id/product_uuid"),
        ("machine-id", "etc/machine-id"),
        ("machine-id", "var/lib/dbus/machine-id"),
    )
    for source, place in sources:
        number = read_text(root / place)
        if number and not _NO_SERIAL.fullmatch(number):
            return hashlib.sha256(f"edgepress:{source}:{number}".encode()).hexdigest(), source
    return None, None


def emulated(root: Path, machine: str, compatible: Tuple[str, ...], cpu_model: Optional[str]) -> bool:
    """Whether instructions are emulated, so that times mean nothing. A KVM guest is virtual but not emulated.

    QEMU is known by its device tree, its DMI vendor or its CPU's name; KVM in it by what only KVM offers to a guest:
    its clock, or its PTP device. A user-mode QEMU (an ARM program on a PC) shows the PC's cpuinfo.
    """
    cpuinfo = read_text(root / "proc/cpuinfo") or ""
    if machine.startswith(("arm", "aarch64")) and re.search(r"^vendor_id\s*:", cpuinfo, re.MULTILINE):
        return True
    if re.search(r"\bTCG\b", cpu_model or ""):
        return True
    vendor = read_text(root / "sys/class/dmi/id/sys_vendor") or ""
    in_qemu = "linux,dummy-virt" in compatible or vendor == "QEMU"
    return in_qemu and not _under_kvm(root)


def _under_kvm(root: Path) -> bool:
    clocks = read_text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    if "kvm-clock" in clocks.split():
        return True
    hypervisor = read_text(root / "proc/device-tree/hypervisor/compatible") or ""
    if "linux,kvm" in hypervisor.split("\0"):
        return True
    return any("KVM" in (read_text(name) or "") for name in (root / "sys/class/ptp").glob("ptp*/clock_name"))
