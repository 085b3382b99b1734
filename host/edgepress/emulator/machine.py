"""One emulated board: a folder with its disk, its keys and its settings, and, while it is on, a QEMU process.

::

    machine.json    image, hardware, port
    disk.qcow2      what differs from the image, and the snapshots
    initrd.cpio     the image's, and behind it the identity: host key, authorized key, host name, machine id
    key, host_key   key pairs: of the user, and of the board's SSH server
    ssh_config      how to reach it: ssh -F ssh_config NAME
    console.log     what the board's kernel and its start script said since it was last switched on
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self

from edgepress.emulator import process, programs
from edgepress.emulator.image import Image
from edgepress.emulator.process import Hardware
from edgepress.emulator.qmp import Monitor
from edgepress.emulator.recipe import USER
from edgepress.errors import EmulatorError, LinkLostError, TransportError
from edgepress.progress import Progress, Silent
from edgepress.transport.atomic_file import write_atomically
from edgepress.transport.ssh_options import SshOptions

if TYPE_CHECKING:
    from edgepress.transport.ssh import SshTransport

SCHEMA = 1
SETTINGS = "machine.json"
BOOT_TIMEOUT_S = 180.0  # 6 to 12 s on an idle machine
SHUTDOWN_TIMEOUT_S = 20.0

_BANNER_TIMEOUT_S = 1.0  # QEMU accepts connections long before there is somebody to take them
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_SNAPSHOT = re.compile(r"^\d+\s+(\S+)", re.MULTILINE)


class MachineState(StrEnum):
    """What a machine does."""

    OFF = "off"
    ON = "on"
    PAUSED = "paused"


@dataclass(frozen=True)
class Settings:
    """What is kept of a machine. ``port`` 0: it was never on."""

    image: Path
    hardware: Hardware
    port: int = 0


class Machine:
    """An emulated board. Any process may open it; what it does is asked of its QEMU each time."""

    def __init__(self, folder: Path) -> None:
        """Open a machine.

        Raises:
            EmulatorError: there is none in this folder, or it is of another version of edgepress.
        """
        self.folder = folder
        try:
            content = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise EmulatorError(
                    f"{folder} has schema {content['schema']}; this edgepress has {SCHEMA}: create it anew",
                    self.name,
                )
            self._settings = Settings(Path(content["image"]), Hardware(**content["hardware"]), content["port"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EmulatorError(f"{folder} has no emulated board: {error}", self.name) from error

    @classmethod
    def write(cls, folder: Path, settings: Settings) -> Self:
        """Write the settings of a new machine, whose other files are there already."""
        _save(folder, settings)
        return cls(folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def image(self) -> Image:
        return Image(self._settings.image)

    @property
    def hardware(self) -> Hardware:
        return self._settings.hardware

    @property
    def port(self) -> int:
        """Of 127.0.0.1, where its SSH server is to be found; it may change when it is switched on."""
        return self._settings.port

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def pid(self) -> int | None:
        """The QEMU process, or None when the machine is off."""
        return process.running_pid(self.folder)

    @property
    def state(self) -> MachineState:
        if self.pid is None:
            return MachineState.OFF
        with self.monitor() as monitor:
            return MachineState.ON if monitor.execute("query-status")["running"] else MachineState.PAUSED

    def console(self) -> str:
        """Return what the board said on its console since it was last switched on."""
        try:
            return (self.folder / process.CONSOLE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def start(self, progress: Progress | None = None, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Switch it on and wait until its SSH server greets. A machine that is on stays as it is.

        Raises:
            MissingProgramError: QEMU is not installed.
            EmulatorError: it does not start; with the end of its console.
        """
        if self.pid is None:
            with (progress or Silent()).task(f"starting {self.name}"):
                self._launch()
                self._wait_for_greeting(timeout_s)

    def stop(self, timeout_s: float = SHUTDOWN_TIMEOUT_S) -> None:
        """Switch it off: ask the system to end and, where that takes too long, end the process. May be called twice."""
        if self.state is MachineState.ON and self._ends_by_itself(timeout_s):
            return
        process.kill(self.folder)

    def kill(self) -> None:
        """Take its power away, at once. What it had not yet written to its disk is lost."""
        process.kill(self.folder)

    def snapshot(self, label: str) -> None:
        """Keep the state of memory and disk under a label, replacing an earlier one of that label.

        Raises:
            EmulatorError: it is off, or the label is none.
        """
        self._human(f"savevm {self._checked(label)}", f"keeping the snapshot {label}")

    def restore(self, label: str, progress: Progress | None = None, timeout_s: float = BOOT_TIMEOUT_S) -> None:
        """Go back to a snapshot, memory and disk; switch it on for that if it is off. The clock is set right again.

        Raises:
            EmulatorError: there is no such snapshot, or this QEMU cannot resume it.
        """
        if self._checked(label) not in self.snapshots():
            raise EmulatorError(
                f"{self.name} has no snapshot {label!r}; it has {', '.join(self.snapshots()) or 'none'}", self.name
            )
        with (progress or Silent()).task(f"restoring {self.name} to {label}"):
            if self.pid is None:
                self._launch("-loadvm", label)
            else:
                self._human(f"loadvm {label}", f"going back to the snapshot {label}")
            self._wait_for_greeting(timeout_s)
            with self.ssh("root") as root:
                root.run(["date", "-s", f"@{time.time():.3f}"])  # it woke up in the past

    def snapshots(self) -> list[str]:
        """Return the labels of its snapshots."""
        if self.pid is not None:
            listed = self._human("info snapshots")
            return [label for label in re.findall(r"^(?:--|\d+)\s+(\S+)", listed, re.MULTILINE) if label != "TAG"]
        listed = programs.run(["qemu-img", "snapshot", "-l", str(self.folder / "disk.qcow2")], "listing snapshots")
        return _SNAPSHOT.findall(listed)

    def monitor(self) -> Monitor:
        """Open a conversation with QEMU.

        Raises:
            EmulatorError: the machine is off.
        """
        if self.pid is None:
            raise EmulatorError(f"{self.name} is off; `edgepress emulator start {self.name}`", self.name)
        return Monitor(self.folder / process.SOCKET)

    def ssh(self, user: str = USER) -> SshTransport:
        """Connect to it as its user or as root; the host key is known from its making."""
        from edgepress.transport.ssh import SshTransport

        known = self.folder / "known_hosts"
        options = SshOptions(
            "127.0.0.1", self.port, user, alias(self.name), (self.folder / "key",), True, (known,), may_ask=False
        )
        return SshTransport.connect(options, self.name)

    def _ends_by_itself(self, timeout_s: float) -> bool:
        """Ask its start script to write everything and switch off; False when it does not, or cannot be asked."""
        try:
            with self.ssh("root") as root:
                root.run(["kill", "-TERM", "1"], timeout_s=timeout_s)
        except LinkLostError:
            pass  # its network went before the answer came
        except TransportError:
            return False
        return process.wait_for_end(self.folder, timeout_s)

    def _launch(self, *more: str) -> None:
        programs.require(programs.TO_RUN)
        if not self.image.disk.is_file():
            raise EmulatorError(
                f"the image of {self.name}, {self.image.folder}, is gone: destroy the board and create it anew",
                self.name,
            )
        try:
            process.launch([*self._command(self.port), *more], self.folder)
        except EmulatorError as error:
            if "host forwarding" not in str(error):
                raise
            process.launch([*self._command(0), *more], self.folder)  # somebody has taken its port meanwhile
        port = process.forwarded_port(self._human("info usernet"))
        if port != self.port:
            self._settings = replace(self._settings, port=port)
            _save(self.folder, self._settings)
            write_ssh_config(self.folder, port)

    def _command(self, port: int) -> list[str]:
        initrd, disk = self.folder / "initrd.cpio", self.folder / "disk.qcow2"
        return process.command(self.hardware, self.image.kernel, initrd, disk, self.folder, port)

    def _wait_for_greeting(self, timeout_s: float) -> None:
        begun = time.monotonic()
        # More and more patient: each attempt costs the board a process, and those given up would keep it from the next.
        while not _greets(self.port, max(_BANNER_TIMEOUT_S, (time.monotonic() - begun) / 4)):
            off = self.pid is None
            if off or time.monotonic() - begun > timeout_s:
                what = "went off again" if off else f"did not answer within {timeout_s:g} s"
                raise EmulatorError(f"{self.name} {what}. The end of its console: {self.console()[-1500:]}", self.name)
            time.sleep(0.05)

    def _human(self, line: str, what: str = "") -> str:
        with self.monitor() as monitor:
            said = monitor.human(line)
        if what and said.strip():  # these commands are silent when they succeed
            raise EmulatorError(f"{what} of {self.name}: QEMU said: {said.strip()}", self.name)
        return said

    def _checked(self, label: str) -> str:
        if not _LABEL.fullmatch(label):
            raise EmulatorError(f"{label!r} is no label: letters, digits, '.', '_' and '-', at most 32", self.name)
        return label


def alias(name: str) -> str:
    """Return the name under which known_hosts has a machine: its port is no part of who it is."""
    return f"edgepress-{name}"


def write_ssh_config(folder: Path, port: int) -> None:
    """Write how to reach the machine in ``folder``: for edgepress and for ``ssh -F ssh_config NAME``."""
    write_atomically(
        folder / "ssh_config",
        f"# Written by edgepress: ssh -F {shlex.quote(str(folder / 'ssh_config'))} {folder.name}\n"
        f"Host {folder.name}\n  HostName 127.0.0.1\n  Port {port}\n  User {USER}\n"
        f'  IdentityFile "{folder / "key"}"\n  IdentitiesOnly yes\n'
        f"  HostKeyAlias {alias(folder.name)}\n"
        f'  UserKnownHostsFile "{folder / "known_hosts"}"\n  GlobalKnownHostsFile none\n',
    )


def _save(folder: Path, settings: Settings) -> None:
    content = {
        "schema": SCHEMA,
        "image": str(settings.image),
        "hardware": asdict(settings.hardware),
        "port": settings.port,
    }
    write_atomically(folder / SETTINGS, json.dumps(content, indent=1) + "\n")


def _greets(port: int, timeout_s: float) -> bool:
    """Whether an SSH server says who it is. QEMU accepts connections for a guest that is not listening yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
