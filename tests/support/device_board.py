"""The board under test, as tests and fixtures see it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import psutil

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.emulator import Machine, programs
from edgepress.errors import EdgepressError

VARIABLE = "EDGEPRESS_TEST_DEVICE"
NAME = "board"
SMOKE = Path(__file__).parents[1] / "cases" / "models" / "smoke.tflite"  # doubles two numbers

# Waits until its owner closes the pipe or is gone. A QEMU that was just being started has no lock yet: it is awaited.
_GUARD = """
import os, sys, time
from pathlib import Path
from edgepress.emulator.process import kill
owner, machines = os.getppid(), Path(sys.argv[1])
sys.stdin.read()
end = time.monotonic() + 5
while True:
    for machine in machines.glob("*"):
        kill(machine)
    if os.getppid() == owner or time.monotonic() > end:
        break
    time.sleep(0.1)
"""


class BoardUnderTest:
    """A board in an inventory of its own; ``machine`` is None when it is a real one.

    Its tests share one connection: to log in and to start an agent takes seconds under emulation.
    """

    def __init__(self, inventory: Inventory, booting: Future[Machine] | None = None) -> None:
        self.inventory = inventory
        self._booting = booting
        self._device: Device | None = None

    @property
    def machine(self) -> Machine | None:
        return self._booting and self._booting.result()

    def device(self) -> Device:
        """Return the board, connected: as it is, or anew where a test has broken the connection."""
        if self._device is not None:
            try:
                self._device.lock()
            except EdgepressError:
                self.disconnect()
        if self._device is None:
            if self._booting is not None:
                self._booting.result()
            self._device = Device.open(NAME, self.inventory)
        return self._device

    def disconnect(self) -> None:
        """End the connection, if there is one."""
        if self._device is not None:
            self._device.close()
            self._device = None


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


@contextmanager
def ended_with_us(machines: Path) -> Iterator[None]:
    """Let no machine in a folder outlive the block or this process, however it ends: QEMU is nobody's child."""
    argv = [sys.executable, "-c", _GUARD, str(machines)]
    # In a session of its own: what ends the tests by their process group must not end the guard.
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True):
        yield
