"""Making, finding and destroying machines, with QEMU's tools replaced: what is written and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.emulator import machines, programs
from edgepress.emulator.image import Image
from edgepress.emulator.machine import Machine, MachineState, write_ssh_config
from edgepress.emulator.process import Hardware
from edgepress.emulator.recipe import ImageRecipe
from edgepress.errors import EmulatorError, InventoryError
from edgepress.transport.known_hosts import known_keys
from edgepress.transport.ssh_options import resolve_options

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="apt install openssh-client")
pytestmark = needs_ssh


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    """An inventory; an image that is no image; and a qemu-img that makes no disk."""
    image = Image(tmp_path / "image")
    image.folder.mkdir()
    image.initrd.write_bytes(b"initrd")
    image.disk.touch()

    def build(recipe: ImageRecipe, cache: Path | None, progress: object) -> Image:
        return image

    def run(argv: Sequence[str], what: str, **more: Any) -> str:
        if argv[0] == "qemu-img":
            return ""
        subprocess.run(argv, check=True)
        return ""

    monkeypatch.setattr(machines, "build_image", build)
    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(programs, "require", lambda programs: None)
    return Inventory.load(tmp_path / "devices.toml")


def create(name: str, inventory: Inventory, **more: Any) -> Machine:
    return machines.create(name, ImageRecipe(), home=inventory.path.parent / "machines", inventory=inventory, **more)


def test_a_new_machine_is_a_device_whose_host_key_is_known(inventory: Inventory) -> None:
    machine = create("pi-at-home", inventory)
    config = Inventory.load(inventory.path).device("pi-at-home")
    assert config.profile == "qemu-virt"
    assert config.ssh_config is not None
    options = resolve_options("pi-at-home", Path(config.ssh_config))
    assert (options.host, options.user, options.identities_only) == ("127.0.0.1", "pi", True)
    (key,) = known_keys(options.known_hosts, options.host_key_name).accepted
    assert (machine.folder / "host_key.pub").read_text().split()[1].encode()[:20] in _line(machine)
    assert key.key_type == "ssh-ed25519"
    write_ssh_config(machine.folder, 45678)  # the port is not part of who it is
    moved = resolve_options("pi-at-home", Path(config.ssh_config))
    assert (moved.port, moved.host_key_name) == (45678, options.host_key_name)
    assert known_keys(options.known_hosts, "edgepress-another").accepted == ()


def test_a_machine_can_be_kept_in_a_folder_with_spaces(tmp_path: Path) -> None:
    place = tmp_path / "my boards" / "pi"
    place.mkdir(parents=True)
    write_ssh_config(place, 2022)
    options = resolve_options("pi", place / "ssh_config")
    assert options.known_hosts == (place / "known_hosts",)
    assert options.identity_files == (place / "key",)


def test_two_machines_of_one_image_have_other_keys_and_another_machine_id(inventory: Inventory) -> None:
    one, other = create("one", inventory), create("other", inventory)
    for name in ("key.pub", "host_key.pub", "initrd.cpio"):
        assert (one.folder / name).read_bytes() != (other.folder / name).read_bytes()
    assert (one.folder / "initrd.cpio").read_bytes().startswith(b"initrd")
    assert [machine.name for machine in machines.list_machines(one.folder.parent)] == ["one", "other"]


def test_a_private_key_is_for_its_owner_alone(inventory: Inventory) -> None:
    machine = create("one", inventory)
    for name in ("key", "host_key"):
        assert (machine.folder / name).stat().st_mode & 0o077 == 0


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(inventory: Inventory) -> None:
    inventory.add(DeviceConfig(name="pi4", target="pi@raspberrypi.local"))
    with pytest.raises(EmulatorError, match="there is a device named 'pi4'"):
        create("pi4", inventory)
    assert Inventory.load(inventory.path).device("pi4").target == "pi@raspberrypi.local"
    assert not (inventory.path.parent / "machines/pi4").exists()
    create("one", inventory)
    with pytest.raises(EmulatorError, match="edgepress emulator destroy one"):
        create("one", inventory)


@pytest.mark.parametrize(("more", "said"), [({"cpu": "z80"}, "no CPU 'z80'"), ({"memory_mib": 16}, "too few")])
def test_hardware_that_cannot_be_had_is_refused(inventory: Inventory, more: dict[str, Any], said: str) -> None:
    with pytest.raises(EmulatorError, match=said):
        create("one", inventory, **more)


def test_a_machine_that_counts_instructions_has_one_core_and_stays_so(inventory: Inventory) -> None:
    machine = create("one", inventory, count_instructions=True)
    assert Machine(machine.folder).hardware == Hardware("cortex-a72", 1024, 1, True)
    settings = machine.folder / "machine.json"
    written = json.loads(settings.read_text())
    del written["hardware"]["counts_instructions"]  # as an earlier version wrote it
    settings.write_text(json.dumps(written))
    assert Machine(machine.folder).hardware == Hardware("cortex-a72", 1024, 1, False)


@pytest.mark.parametrize("name", ["../evil", "", "-a", "a b"])
def test_a_name_that_is_no_name_makes_no_folder(inventory: Inventory, name: str) -> None:
    with pytest.raises(InventoryError, match="is no name"):
        create(name, inventory)
    assert not (inventory.path.parent / "machines").exists()


def test_destroying_a_machine_leaves_nothing_of_it(inventory: Inventory) -> None:
    machine = create("one", inventory)
    machines.destroy(machine, inventory)
    assert not machine.folder.exists()
    assert "one" not in Inventory.load(inventory.path).devices
    with pytest.raises(EmulatorError, match="no emulated board named 'one'; there are none"):
        machines.open_machine("one", machine.folder.parent)


def test_destroying_a_machine_leaves_another_device_that_took_its_name(inventory: Inventory) -> None:
    machine = create("one", inventory)
    inventory.add(DeviceConfig(name="one", target="pi@raspberrypi.local"))
    machines.destroy(machine, inventory)
    assert Inventory.load(inventory.path).device("one").target == "pi@raspberrypi.local"


def test_a_machine_that_is_off_says_so(inventory: Inventory) -> None:
    machine = create("one", inventory)
    assert machine.state is MachineState.OFF
    assert machine.console() == ""
    machine.stop()
    with pytest.raises(EmulatorError, match="edgepress emulator start one"):
        machine.snapshot("ready")


def test_a_label_that_could_be_another_command_is_refused(inventory: Inventory) -> None:
    machine = create("one", inventory)
    with pytest.raises(EmulatorError, match="is no label"):
        machine.snapshot("ready\nquit")


def test_settings_of_another_version_are_refused(inventory: Inventory) -> None:
    machine = create("one", inventory)
    settings = machine.folder / "machine.json"
    settings.write_text(settings.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(EmulatorError, match="schema 99"):
        Machine(machine.folder)
    settings.write_text("{}")
    with pytest.raises(EmulatorError, match="has no emulated board"):
        Machine(machine.folder)


def _line(machine: Machine) -> bytes:
    return (machine.folder / "known_hosts").read_bytes()
