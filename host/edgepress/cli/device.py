"""``edgepress device``."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from edgepress.cli import options
from edgepress.cli.device_check import calibrate, check


@click.group(epilog="Example: edgepress device add pi4 pi@raspberrypi.local")
def device() -> None:
    """Add, trust, provision, check and list devices."""


@device.command(epilog="Example: edgepress device add pi4 pi@raspberrypi.local --profile raspberry-pi-4b")
@click.argument("name")
@click.argument("target", metavar="[USER@]HOST[:PORT]")
@click.option("--profile", help="Kind of board, such as raspberry-pi-4b.")
@click.option("--runtime", metavar="NAME[==VERSION]", help="What it uses unless a command says otherwise.")
@click.option("--home", metavar="DIR", help="Where edgepress keeps its files there; default ~/.edgepress.")
@click.option("--python", metavar="PATH", help="What runs the agent there; default python3.")
@click.option("--ssh-config", metavar="FILE", help="Instead of ~/.ssh/config.")
@click.option("--allow-sudo", is_flag=True, help="Let measurements set the CPU governor by `sudo -n`, and back.")
@options.as_json
@click.pass_context
def add(context: click.Context, /, name: str, as_json: bool, **settings: Any) -> None:
    """Add a device to the inventory (devices.toml), or change it. Nothing is connected yet.

    Of a device that is there, what is not named stays as it is; 'edgepress device remove' takes it all away.
    """
    from pydantic import ValidationError

    from edgepress.cli.printing import print_json
    from edgepress.devices.inventory import DeviceConfig, Inventory
    from edgepress.devices.profiles import load_profile
    from edgepress.errors import InventoryError

    if settings["profile"]:
        load_profile(settings["profile"])
    inventory = Inventory.load()
    old = inventory.devices.get(name)
    given = {
        key: value for key, value in settings.items() if context.get_parameter_source(key) != ParameterSource.DEFAULT
    }
    try:
        config = DeviceConfig(**{**(old.model_dump() if old else {}), "name": name, **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InventoryError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", name) from None
    inventory.add(config)
    if as_json:
        print_json({"schema": 1, "device": config.model_dump(exclude_none=True), "inventory": str(inventory.path)})
    else:
        click.echo(f"{name} ({config.target}) is in {inventory.path}")
        click.echo(f"next: edgepress device trust {name}")


@device.command(epilog="Example: edgepress device trust pi4 --fingerprint SHA256:xxxxxxxx")
@click.argument("name")
@click.option(
    "--fingerprint",
    "fingerprints",
    metavar="SHA256:...",
    multiple=True,
    help="Accept without asking what shows this one; once more for each jump host on the way.",
)
@options.as_json
def trust(name: str, fingerprints: tuple[str, ...], as_json: bool) -> None:
    """Show a device's host key and accept it; before it, those of the jump hosts on the way.

    Compare the fingerprint with what the device itself says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
    """
    from edgepress.cli.printing import print_json
    from edgepress.devices.inventory import Inventory
    from edgepress.devices.reach import accept, fetch_host_key
    from edgepress.errors import ChangedHostKeyError

    inventory = Inventory.load()
    config = inventory.device(name)
    if config.target is None:
        raise click.UsageError(f"{name} is this machine: there is nothing to trust")
    is_device = False
    while not is_device:
        offered = fetch_host_key(config, inventory)
        is_device, key = offered.is_device, offered.key
        shown_by = f"{name} ({config.target})" if is_device else f"the jump host {offered.shown_by}"
        if not fingerprints:
            click.echo(f"{shown_by} shows the host key {key.fingerprint}", err=True)
            click.confirm("Is that its fingerprint?", abort=True, err=True)
        elif key.fingerprint not in fingerprints:
            raise ChangedHostKeyError(
                f"{shown_by} shows {key.fingerprint}, expected {' or '.join(fingerprints)}: not accepted", name
            )
        accept(config, inventory, offered)
        if not as_json:
            click.echo(f"{name if is_device else offered.shown_by}: accepted {key.fingerprint}")
    if as_json:
        print_json({"schema": 1, "device": name, "fingerprint": key.fingerprint})
    else:
        click.echo(f"next: edgepress device provision {name}")


@device.command(epilog="Example: edgepress device provision pi4 --runtime tflite-runtime==2.14.0")
@click.argument("name")
@options.runtime
@click.option("--offline", is_flag=True, help="Fetch the wheels here and send them; needs neither pip nor venv there.")
@options.as_json
def provision(name: str, runtime: str | None, offline: bool, as_json: bool) -> None:
    """Bring the agent and a TFLite runtime onto a device, into folders of their own; no root needed there."""
    from edgepress.cli.console import make_progress
    from edgepress.cli.printing import print_json
    from edgepress.devices import provisioning

    with make_progress() as progress:
        installed = provisioning.provision(name, runtime, offline=offline, progress=progress)
    if as_json:
        print_json({"schema": 1, "device": name, "runtime": {"name": installed.name, "version": installed.version}})
    else:
        click.echo(f"{name} runs {installed.name} {installed.version} (Python {installed.python_version})")


device.add_command(check)
device.add_command(calibrate)


@device.command("list", epilog="Example: edgepress device list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the devices and groups of the inventory."""
    from edgepress.cli.printing import print_json
    from edgepress.devices.inventory import Inventory

    inventory = Inventory.load()
    if as_json:
        print_json(
            {
                "schema": 1,
                "inventory": str(inventory.path),
                "devices": [config.model_dump(exclude_none=True) for config in inventory.devices.values()],
                "groups": {name: list(members) for name, members in inventory.groups.items()},
            }
        )
        return
    width = max(len(name) for name in inventory.devices)
    for name, config in inventory.devices.items():
        parts = (config.target or "this machine", config.profile, config.runtime)
        click.echo(f"{name:{width}}  " + "  ".join(part for part in parts if part))
    for name, members in inventory.groups.items():
        click.echo(f"@{name}: {', '.join(members)}")
    click.echo(f"({inventory.path})", err=True)


@device.command(epilog="Example: edgepress device show pi4")
@click.argument("name")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show what the inventory and its profile say of a device, without connecting."""
    from edgepress.cli.printing import print_json
    from edgepress.devices.inventory import Inventory
    from edgepress.devices.profiles import Figure, load_profile

    config = Inventory.load().device(name)
    profile = load_profile(config.profile) if config.profile else None
    if as_json:
        print_json(
            {
                "schema": 1,
                "device": config.model_dump(exclude_none=True),
                "profile": profile.model_dump(mode="json", exclude_none=True) if profile else None,
            }
        )
        return
    for key, value in config.model_dump(exclude_none=True).items():
        click.echo(f"{key:11} {value}")
    if profile:
        click.echo(f"\n{profile.title}, by its profile:")
        for key, figure in profile:
            if isinstance(figure, Figure):
                click.echo(f"  {key} = {figure.value} ({figure.status}: {figure.source})")
        for one in profile.reference_latency:
            click.echo(
                f"  {one.model} {one.format}, {one.threads} threads: {one.latency_ms:g} ms ({one.status}: {one.source})"
            )


@device.command(epilog="Example: edgepress device remove pi4")
@click.argument("name")
@options.as_json
def remove(name: str, as_json: bool) -> None:
    """Remove a device from the inventory. Its rows stay in the table; nothing on the device is touched."""
    from edgepress.cli.printing import print_json
    from edgepress.devices.inventory import Inventory

    inventory = Inventory.load()
    inventory.remove(name)
    if as_json:
        print_json({"schema": 1, "removed": name})
    else:
        click.echo(f"{name} is no longer in {inventory.path}")
