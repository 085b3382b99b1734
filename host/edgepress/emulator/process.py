"""A QEMU process: started so that it outlives the command that started it, known by the lock it holds."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgepress.emulator import programs
from edgepress.emulator.qmp import short_path
from edgepress.errors import EmulatorError

SOCKET = "qmp.sock"
PID_FILE = "qemu.pid"
CONSOLE = "console.log"
NETWORK_CARD = "nic"

_FLOCK = "hhqqi"  # struct flock of Linux: type, whence, start, length, pid
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)")
_GUEST_SSH = 22
_KERNEL_WORDS = "console=ttyAMA0 quiet panic=-1"
_INSTRUCTION_CLOCK = " edgepress.clock=instructions"  # by which the agent knows, see its facts.py


@dataclass(frozen=True)
class Hardware:
    """What a machine is made of. A snapshot can only be resumed on the same.

    Attributes:
        counts_instructions: its clock goes on by 1 ns with every instruction, whatever this machine does meanwhile;
            only one core at a time can be emulated so.
    """

    cpu: str
    memory_mib: int
    cores: int
    counts_instructions: bool = False


def command(hardware: Hardware, kernel: Path, initrd: Path, disk: Path, folder: Path, port: int) -> list[str]:
    """Return QEMU's argv.

    The guest's network ends at this machine: ``restrict`` lets it reach nothing, and only the forwarded port reaches
    it. ``cache=unsafe`` leaves it to the host when a disk's content gets to the host's own disk: whether this machine
    loses power is not what is tested here.

    Args:
        folder: takes the process's files.
        port: of 127.0.0.1 that leads to the guest's SSH; 0: a free one, which :func:`forwarded_port` names then.
    """
    counts = hardware.counts_instructions
    return [
        *("qemu-system-aarch64", "-M", "virt,gic-version=2", "-cpu", hardware.cpu, "-smp", str(hardware.cores)),
        *(
            "-m",
            str(hardware.memory_mib),
            "-accel",
            f"tcg,thread={'single' if counts else 'multi'}",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ),
        *(
            "-kernel",
            str(kernel),
            "-initrd",
            str(initrd),
            "-append",
            f"{_KERNEL_WORDS}{_INSTRUCTION_CLOCK if counts else ''}",
        ),
        *(("-icount", "shift=0") if counts else ()),
        *("-drive", f"if=none,id=disk,file={_escaped(disk)},format=qcow2,cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{_GUEST_SSH}"),
        *("-device", f"virtio-net-pci,id={NETWORK_CARD},netdev=net,romfile="),
        *("-serial", f"file:{folder / CONSOLE}", "-pidfile", str(folder / PID_FILE), "-daemonize"),
    ]


def launch(argv: Sequence[str], folder: Path) -> None:
    """Start QEMU with a monitor at ``folder / SOCKET``. Returns once its devices are made, the port bound included.

    Raises:
        EmulatorError: QEMU refused; with what it said.
    """
    (folder / SOCKET).unlink(missing_ok=True)
    # Bound here and handed over: QEMU would take the path as it is, which may be too long for a socket's address.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, short_path(folder / SOCKET) as name:
        listener.bind(name)
        listener.listen()
        descriptor = listener.fileno()
        monitor = f"socket,id=monitor,fd={descriptor},server=on,wait=off"
        programs.run(
            [*argv, "-chardev", monitor, "-mon", "chardev=monitor,mode=control"],
            "starting the machine",
            pass_fds=(descriptor,),
            timeout_s=60.0,
        )


def running_pid(folder: Path) -> int | None:
    """Return the process of a machine, or None: the one that holds the lock on its pid file.

    A number in a file may be anybody's by now; the lock goes with its process.
    """
    try:
        with (folder / PID_FILE).open("r+b") as file:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else int(pid)


def kill(folder: Path) -> None:
    """End a machine's process at once, as a power cut does, and wait until it is gone."""
    pid = running_pid(folder)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if not wait_for_end(folder, 10.0):
        raise EmulatorError(f"QEMU (process {pid}) did not end although it was killed")


def wait_for_end(folder: Path, timeout_s: float) -> bool:
    """Wait until a machine's process has ended; False when it has not in time."""
    deadline = time.monotonic() + timeout_s
    while running_pid(folder) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def forwarded_port(usernet: str) -> int:
    """Read the port of this machine that leads to a guest's SSH from what the monitor's "info usernet" says."""
    match = _FORWARD.search(usernet)
    if match is None:
        raise EmulatorError(f"QEMU forwards no port: {usernet}")
    return int(match[1])


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")  # as QEMU's options want it
