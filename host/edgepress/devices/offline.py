"""A runtime for a board that cannot fetch it: fetched and put together here, sent over the connection there is."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgepress.devices.reach import agent_command
from edgepress.devices.wheels import MARKER, BoardPython, assemble_runtime, runtime_folder
from edgepress.errors import ProvisioningError
from edgepress.progress import Progress, Silent
from edgepress.transport.base import describe_end, printable
from edgepress_agent.protocol.codec import WireError, from_wire, loads
from edgepress_agent.protocol.messages import InstallSpec, Runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgepress.devices.device import Device

_SEND_TIMEOUT_S = 1800.0  # 25 MB over the slowest links
_UNPACK_TIMEOUT_S = 600.0  # a thousand files onto the slowest cards
_STEPS = 4


def install_offline(device: Device, spec: InstallSpec, progress: Progress | None = None) -> None:
    """Install a runtime on an open device that has neither network nor pip nor venv. Needs tar there.

    Raises:
        ProvisioningError: the wheels could not be fetched here, or not unpacked or used there.
        LinkLostError: the connection broke; what had arrived does not count as a runtime.
    """
    board = _python_of(device)
    home = PurePosixPath(device.hello.home)
    name = runtime_folder(spec, board)
    place, part = home / "runtimes" / name, home / "runtimes" / f".{name}.part"
    parcel = home / "incoming" / f"{name}.tar.gz"
    with (
        (progress or Silent()).task(f"installing {spec.name} {spec.version} on {device.name}", _STEPS) as task,
        tempfile.TemporaryDirectory(prefix="edgepress-") as scratch,
    ):
        task.update(0, message="fetching its wheels here")
        folder = Path(scratch) / name
        assemble_runtime(spec, board, folder, home)
        (folder / MARKER).unlink()  # the board's own word is taken for it below
        task.update(1, message="sending it")
        packed = Path(scratch) / parcel.name
        pack(folder, packed)
        _run(device, ["mkdir", "-p", str(parcel.parent)])
        device.transport.put(packed, str(parcel), timeout_s=_SEND_TIMEOUT_S)
        task.update(2, message="unpacking it there")
        _run(device, ["rm", "-rf", str(part), str(place)])
        _run(device, ["mkdir", "-p", str(part)])
        _run(device, ["tar", "-xzf", str(parcel), "-C", str(part)])
        _run(device, ["mv", str(part), str(place)])
        _run(device, ["rm", "-f", str(parcel)])
        task.update(3, message="trying it out")
        said = _run(
            device, [str(place / "bin/python"), str(home / "agents/current.pyz"), "describe-runtime", spec.name]
        )
        try:
            from_wire(Runtime, loads(said))
        except WireError as error:
            raise ProvisioningError(
                f"{spec.name} {spec.version} was unpacked on {device.name}, but is not found there: {error}",
                device.name,
            ) from error
        _run(device, ["sync"])  # the marker must not outlive what it speaks of
        device.transport.put(said, str(place / MARKER))
    device.refresh()


def pack(folder: Path, file: Path) -> None:
    """Write a runtime's folder into an archive as a board needs it: nobody's, and without the tests of its packages.

    Those are half of the files (numpy's, and their byte code) and a fifth of the bytes.
    """
    with tarfile.open(file, "w:gz", compresslevel=1) as tar:
        tar.add(folder, arcname=".", filter=_needed)


def _python_of(device: Device) -> BoardPython:
    said = _run(device, agent_command(device.config, "-c", "import sys; print(sys.executable)"))
    facts = device.facts
    return BoardPython(
        printable(said.decode(errors="replace")).strip(),
        facts.python_version,
        facts.libc,
        facts.machine,
        facts.pointer_bits,
    )


def _run(device: Device, argv: Sequence[str]) -> bytes:
    done = device.transport.run(argv, timeout_s=_UNPACK_TIMEOUT_S)
    if done.returncode != 0:
        end = describe_end(done.returncode, printable(done.stderr.decode(errors="replace")[-1000:]).strip())
        raise ProvisioningError(f"{argv[0]} failed on {device.name} ({end})", device.name)
    return done.stdout


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if entry.isdir() and PurePosixPath(entry.name).name == "tests":
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
