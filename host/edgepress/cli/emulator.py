"""``edgepress emulator``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepress.cli import options

if TYPE_CHECKING:
    from edgepress.emulator.machine import Machine


def _mebibytes(context: click.Context, parameter: click.Parameter, text: str) -> int:
    del context, parameter
    match = re.fullmatch(r"([0-9]{1,6})([MG])", text.strip().upper())
    if match is None:
        raise click.BadParameter(f"{text!r} is no size; expected one such as 1G or 512M")
    return int(match[1]) * (1024 if match[2] == "G" else 1)


@click.group(epilog="Example: edgepress emulator create pi-at-home && edgepress emulator start pi-at-home")
def emulator() -> None:
    """ARM boards in QEMU: real ARM code, a real SSH server, no hardware; their times mean nothing."""


@emulator.command(epilog="Example: edgepress emulator create pi-at-home --cpu cortex-a72 --memory 1G")
@click.argument("name")
@click.option(
    "--cpu",
    type=click.Choice(["cortex-a53", "cortex-a72", "cortex-a76"]),
    default="cortex-a72",
    show_default=True,
    help="Core of a Pi 3 or Zero 2 W, of a Pi 4, of a Pi 5.",
)
@click.option("--memory", "memory_mib", default="1G", show_default=True, metavar="SIZE", callback=_mebibytes)
@click.option(
    "--os", "suite", type=click.Choice(["bookworm", "trixie"]), default="bookworm", show_default=True, help="Debian."
)
@click.option(
    "--count-instructions",
    is_flag=True,
    help="One core, whose clock goes on by 1 ns with each instruction: its times repeat, and are instruction counts.",
)
@click.option("--lite", is_flag=True, help="As Raspberry Pi OS Lite comes: no python3-venv, no TFLite runtime.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="EDGEPRESS_IMAGES",
    show_envvar=True,
    help="Where images are kept for the next board.",
)
@click.option("--mirror", metavar="URL", envvar="EDGEPRESS_DEBIAN", show_envvar=True, help="Of Debian.")
@options.as_json
def create(
    name: str,
    cpu: str,
    memory_mib: int,
    suite: str,
    count_instructions: bool,
    lite: bool,
    cache: Path | None,
    mirror: str | None,
    as_json: bool,
) -> None:
    """Make an emulated board and add it to the inventory.

    The first of its kind builds an image from Debian's packages: half a minute, 100 MB of downloads, no root. The next
    ones take no time. No `device trust` is needed: the host key is made here.
    """
    from edgepress.cli.console import make_progress
    from edgepress.emulator import machines
    from edgepress.emulator.recipe import DEFAULT_MIRROR, ImageRecipe

    recipe = ImageRecipe(suite, lite, mirror or DEFAULT_MIRROR)
    with make_progress() as progress:
        machine = machines.create(
            name,
            recipe,
            cpu=cpu,
            memory_mib=memory_mib,
            count_instructions=count_instructions,
            cache=cache,
            progress=progress,
        )
    _say(machine, as_json, f"{name} is made ({machine.image.folder.name})\nnext: edgepress emulator start {name}")


@emulator.command(epilog="Example: edgepress emulator start pi-at-home")
@click.argument("name")
@options.as_json
def start(name: str, as_json: bool) -> None:
    """Switch a board on, and wait until it can be reached."""
    from edgepress.cli.console import make_progress

    machine = _open(name)
    with make_progress() as progress:
        machine.start(progress)
    login = shlex.join(["ssh", "-F", str(machine.ssh_config), name])
    _say(machine, as_json, f"{name} is on: {login}\nnext: edgepress device check {name}")


@emulator.command(epilog="Example: edgepress emulator stop pi-at-home")
@click.argument("name")
@options.as_json
def stop(name: str, as_json: bool) -> None:
    """Switch a board off; its disk stays."""
    machine = _open(name)
    machine.stop()
    _say(machine, as_json, f"{name} is off")


@emulator.command(epilog="Example: edgepress emulator status")
@click.argument("name", required=False)
@options.as_json
def status(name: str | None, as_json: bool) -> None:
    """Say what a board does; without a name, all of them."""
    from edgepress.cli.printing import print_json
    from edgepress.emulator.machines import list_machines

    found = [_open(name)] if name else list_machines()
    if as_json:
        print_json({"schema": 1, "machines": [_described(machine) for machine in found]})
        return
    for machine in found:
        said = _described(machine)
        where = f"port {said['port']}, process {said['pid']}" if said["pid"] else ""
        kept = f"snapshots: {', '.join(said['snapshots'])}" if said["snapshots"] else ""
        counts = ", counts instructions" if said["counts_instructions"] else ""
        hardware = f"{said['cpu']}, {said['memory_mib']} MiB, {said['image']}{counts}"
        click.echo("  ".join(part for part in (machine.name, said["state"], where, hardware, kept) if part))
    if not found:
        click.echo("there is no emulated board; make one: edgepress emulator create NAME")


@emulator.command(epilog="Example: edgepress emulator console pi-at-home")
@click.argument("name")
@options.as_json
def console(name: str, as_json: bool) -> None:
    """Print what a board's kernel and start script said since it was last switched on."""
    from edgepress.cli.printing import print_json
    from edgepress.transport.base import printable

    said = printable(_open(name).console())
    if as_json:
        print_json({"schema": 1, "name": name, "console": said})
    else:
        click.echo(said, nl=False)


@emulator.command(epilog="Example: edgepress emulator snapshot pi-at-home ready")
@click.argument("name")
@click.argument("label")
@options.as_json
def snapshot(name: str, label: str, as_json: bool) -> None:
    """Keep the state of a running board, memory and disk, under LABEL."""
    machine = _open(name)
    machine.snapshot(label)
    _say(machine, as_json, f"{name}: kept as {label}\nback to it: edgepress emulator restore {name} {label}")


@emulator.command(epilog="Example: edgepress emulator restore pi-at-home ready")
@click.argument("name")
@click.argument("label")
@options.as_json
def restore(name: str, label: str, as_json: bool) -> None:
    """Go back to a snapshot, memory and disk: takes a second or two, also when the board is off."""
    from edgepress.cli.console import make_progress

    machine = _open(name)
    with make_progress() as progress:
        machine.restore(label, progress)
    _say(machine, as_json, f"{name} is on, as it was at {label}")


@emulator.command(epilog="Example: edgepress emulator destroy pi-at-home")
@click.argument("name")
@options.as_json
def destroy(name: str, as_json: bool) -> None:
    """End a board and delete its disk and keys; its rows stay in the table, its image in the cache."""
    from edgepress.cli.printing import print_json
    from edgepress.emulator import machines

    machines.destroy(_open(name))
    if as_json:
        print_json({"schema": 1, "destroyed": name})
    else:
        click.echo(f"{name} is gone")


def _open(name: str) -> Machine:
    from edgepress.emulator.machines import open_machine

    return open_machine(name)


def _described(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "state": machine.state.value,
        "pid": machine.pid,
        "port": machine.port,
        "cpu": machine.hardware.cpu,
        "memory_mib": machine.hardware.memory_mib,
        "cores": machine.hardware.cores,
        "counts_instructions": machine.hardware.counts_instructions,
        "image": machine.image.folder.name,
        "folder": str(machine.folder),
        "snapshots": machine.snapshots(),
    }


def _say(machine: Machine, as_json: bool, text: str) -> None:
    from edgepress.cli.printing import print_json

    if as_json:
        print_json({"schema": 1, "machine": _described(machine)})
    else:
        click.echo(text)
