"""The board under test, as tests and fixtures see it."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.emulator import Machine, programs

VARIABLE = "EDGEPRESS_TEST_DEVICE"
NAME = "board"
READY = "ready"


@dataclass(frozen=True)
class BoardUnderTest:
    """A board in an inventory of its own; ``machine`` is None when it is a real one."""

    inventory: Inventory
    machine: Machine | None

    def open(self) -> Device:
        return Device.open(NAME, self.inventory)


def why_not_emulated() -> str | None:
    """Why there is no emulated board on this machine, or None."""
    packages = programs.missing((*programs.TO_BUILD, *programs.TO_RUN))
    if not packages:
        return None
    return (
        f"no board: {VARIABLE}=user@host names a real one; an emulated one needs apt install --no-install-recommends "
        f"{' '.join(packages)}"
    )


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or only waits for its parent to take note of it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
