"""The emulated boards of this user: made, found, destroyed; each is a device of the inventory under its name."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.emulator import programs
from edgepress.emulator.cpio import Entry, folder, write_cpio
from edgepress.emulator.image import Image, build_image
from edgepress.emulator.machine import Machine, Settings, alias, write_ssh_config
from edgepress.emulator.process import Hardware
from edgepress.emulator.recipe import CPUS, ImageRecipe
from edgepress.errors import EmulatorError, InventoryError
from edgepress.progress import Progress

ENVIRONMENT_VARIABLE = "EDGEPRESS_MACHINES"
PROFILE = "qemu-virt"
CORES = 2
LEAST_MEMORY_MIB = 256


def default_folder() -> Path:
    """Return where machines are kept: ``$EDGEPRESS_MACHINES``, else a folder of the user's."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named).absolute() if named else Path(platformdirs.user_data_dir("edgepress")) / "machines"


def create(
    name: str,
    recipe: ImageRecipe,
    *,
    cpu: str = "cortex-a72",
    memory_mib: int = 1024,
    count_instructions: bool = False,
    home: Path | None = None,
    cache: Path | None = None,
    inventory: Inventory | None = None,
    progress: Progress | None = None,
) -> Machine:
    """Make a machine, building its image unless it is in the cache, and add it to the inventory. It is off.

    Args:
        name: of the device.
        recipe: of the image.
        cpu: one of :data:`CPUS`.
        memory_mib: MiB of memory.
        count_instructions: let its clock count instructions, on one core.
        home: where machines are kept; the user's own when left out.
        cache: where images are kept.
        inventory: the user's own when left out.

    Raises:
        MissingProgramError: names the Debian packages that have what is missing.
        EmulatorError: there is a device of this name, or the image could not be built.
        InventoryError: the name is none.
    """
    if cpu not in CPUS:
        raise EmulatorError(f"no CPU {cpu!r}; there are {', '.join(CPUS)}", name)
    if memory_mib < LEAST_MEMORY_MIB:
        raise EmulatorError(f"{memory_mib} MiB of memory are too few: {LEAST_MEMORY_MIB} at least", name)
    programs.require((*programs.TO_RUN, *programs.TO_BUILD))
    inventory = inventory or Inventory.load()
    place = (home or default_folder()) / name
    try:
        config = DeviceConfig(name=name, target=name, profile=PROFILE, ssh_config=str(place / "ssh_config"))
    except ValidationError as error:
        raise InventoryError(error.errors(include_url=False)[0]["msg"], name) from None
    if name in inventory.devices or place.exists():
        raise EmulatorError(
            f"there is a device named {name!r}; take another name, or remove it: "
            + (f"edgepress emulator destroy {name}" if place.exists() else f"edgepress device remove {name}"),
            name,
        )
    image = build_image(recipe, cache, progress)
    place.mkdir(parents=True)
    try:
        _write_files(place, image)
        machine = Machine.write(
            place,
            Settings(image.folder, Hardware(cpu, memory_mib, 1 if count_instructions else CORES, count_instructions)),
        )
        inventory.add(config)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return machine


def list_machines(home: Path | None = None) -> list[Machine]:
    """Return all machines, by name."""
    return [Machine(settings.parent) for settings in sorted((home or default_folder()).glob("*/machine.json"))]


def open_machine(name: str, home: Path | None = None) -> Machine:
    """Return a machine.

    Raises:
        EmulatorError: there is none of this name. Lists those that exist.
    """
    place = (home or default_folder()) / name
    if not (place / "machine.json").is_file():
        there = ", ".join(machine.name for machine in list_machines(home)) or "none"
        raise EmulatorError(
            f"no emulated board named {name!r}; there are {there}. Make it with `edgepress emulator create {name}`",
            name,
        )
    return Machine(place)


def destroy(machine: Machine, inventory: Inventory | None = None) -> None:
    """End a machine's process, remove its files and take it from the inventory. Its rows stay in the table."""
    machine.kill()
    inventory = inventory or Inventory.load()
    config = inventory.devices.get(machine.name)
    if config is not None and config.ssh_config == str(machine.ssh_config):  # and not another device of that name
        inventory.remove(machine.name)
    shutil.rmtree(machine.folder)


def _write_files(place: Path, image: Image) -> None:
    for key in ("key", "host_key"):
        comment = f"edgepress:{place.name}"
        programs.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(place / key)], "making a key"
        )
    kind, public = (place / "host_key.pub").read_text().split()[:2]
    (place / "known_hosts").write_text(f"{alias(place.name)} {kind} {public}\n")
    (place / "initrd.cpio").write_bytes(image.initrd.read_bytes() + _identity(place))
    write_ssh_config(place, 22)
    programs.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "raw", str(place / "disk.qcow2")],
        "making the disk",
    )


def _identity(place: Path) -> bytes:
    """What makes this machine another than the next of the same image."""
    secret = stat.S_IFREG | 0o600
    return write_cpio(
        [
            folder("identity/etc"),
            folder("identity/etc/ssh"),
            Entry("identity/etc/hostname", f"{place.name}\n".encode()),
            Entry("identity/etc/machine-id", f"{secrets.token_hex(16)}\n".encode()),
            Entry("identity/etc/ssh/authorized_keys", (place / "key.pub").read_bytes()),
            Entry("identity/etc/ssh/ssh_host_ed25519_key", (place / "host_key").read_bytes(), secret),
        ]
    )
