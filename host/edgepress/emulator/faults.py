"""What goes wrong on a board, on demand: for tests of everything that must survive it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgepress.emulator import process
from edgepress.emulator.machine import Machine
from edgepress.errors import EmulatorError

_BALLAST = "/var/edgepress-ballast"
_FILL = 'fallocate -l "$1" "$2" || cat /dev/zero > "$2"'


class Faults:
    """Faults of one machine. Those that last are context managers: they end with their ``with`` block."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def power_cut(self) -> None:
        """Take the power away. What was not synced is lost; the far ends of open connections are told at once.

        ``machine.start()`` switches it on again.
        """
        self._machine.kill()

    @contextmanager
    def link_down(self) -> Iterator[None]:
        """Let nothing through the network. Nobody is told: to this machine it looks like a link that stalls."""
        self.set_link(up=False)
        try:
            yield
        finally:
            self.set_link(up=True)

    def set_link(self, *, up: bool) -> None:
        """Take the network away or give it back."""
        with self._machine.monitor() as monitor:
            monitor.execute("set_link", name=process.NETWORK_CARD, up=up)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the CPUs: the board hangs, and its clock stands still."""
        with self._machine.monitor() as monitor:
            monitor.execute("stop")
        try:
            yield
        finally:
            with self._machine.monitor() as monitor:
                monitor.execute("cont")

    @contextmanager
    def full_disk(self, free_bytes: int = 0) -> Iterator[None]:
        """Leave only so much room on the disk (to a block), even for root."""
        with self._machine.ssh("root") as root:
            shown = root.run(["stat", "-f", "-c", "%a %S", "/"])
            blocks, block_bytes = map(int, shown.stdout.split())
            ballast = blocks * block_bytes - free_bytes
            if ballast <= 0:
                raise EmulatorError(f"{self._machine.name} has no {free_bytes:,} bytes of room to leave")
            # The last blocks go to the index of the file itself: it ends with "no space left", as wanted.
            root.run(["sh", "-c", _FILL, "sh", str(ballast), _BALLAST])
        try:
            yield
        finally:
            with self._machine.ssh("root") as root:
                root.run(["rm", "-f", _BALLAST])

    def set_clock(self, unix_s: float) -> None:
        """Set the board's clock, as a Pi without a battery has it after every start: to some time in the past."""
        with self._machine.ssh("root") as root:
            done = root.run(["date", "-s", f"@{unix_s:.3f}"])
        if done.returncode != 0:
            raise EmulatorError(f"the clock of {self._machine.name} could not be set: {done.stderr.decode()}")
