"""From a name in the inventory to a connection to the board."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.errors import ChangedHostKeyError, TransportError
from edgepress.transport.known_hosts import accept_host_key, known_keys
from edgepress.transport.ssh_options import OfferedKey, SshOptions, resolve_options

if TYPE_CHECKING:
    from edgepress.transport.base import Transport

HOME_VARIABLE = "EDGEPRESS_HOME"


def connect(config: DeviceConfig, inventory: Inventory) -> Transport:
    """Connect to a device.

    Raises:
        TransportError: the subclass says why.
    """
    if config.target is None:
        if sys.platform != "linux":
            raise TransportError(
                f"the device {config.name!r} needs Linux, and this machine runs {sys.platform}: name another device",
                config.name,
            )
        from edgepress.transport.local import LocalTransport

        return LocalTransport(config.name, {HOME_VARIABLE: local_home()})
    from edgepress.transport.ssh import SshTransport

    return SshTransport.connect(_options(config, inventory), config.name, [inventory.known_hosts])


def local_home() -> str:
    """Return EDGEPRESS_HOME of the device ``local``."""
    return os.environ.get(HOME_VARIABLE) or str(Path(platformdirs.user_data_dir("edgepress")) / "home")


def agent_home(config: DeviceConfig) -> str:
    """Return EDGEPRESS_HOME on a device as its transport takes paths: over SSH, relative to the user's home."""
    if config.target is None:
        return local_home()
    return config.home.removeprefix("~/") if config.home else ".edgepress"


def agent_command(config: DeviceConfig, *arguments: str) -> list[str]:
    """Return the argv that runs the device's Python with EDGEPRESS_HOME set where the inventory names one."""
    if config.target is None:
        return [sys.executable, *arguments]
    home = [] if config.home is None else ["env", f"{HOME_VARIABLE}={config.home}"]
    return [*home, config.python or "python3", *arguments]


def fetch_host_key(config: DeviceConfig, inventory: Inventory) -> OfferedKey:
    """Ask for the first host key on the way to a device that nobody has accepted, else for the device's own.

    It is for the user to compare the fingerprint; nothing is accepted by it. A device behind jump hosts may need
    several: accept what was offered and ask again, until it is the device that has shown its key.

    Raises:
        UnreachableError: no SSH server answers.
    """
    from edgepress.transport.ssh_link import offered_key

    return offered_key(_options(config, inventory), config.name, [inventory.known_hosts])


def accept(config: DeviceConfig, inventory: Inventory, offered: OfferedKey) -> None:
    """Accept a host key that the user has compared: write it to the file beside the inventory.

    Raises:
        ChangedHostKeyError: another key was accepted before, or this one is revoked. The old line has to be removed by
            hand, so that a changed key is never accepted in passing.
    """
    options, key = offered.shown_by, offered.key
    files = [*options.known_hosts, inventory.known_hosts]
    known = known_keys(files, options.host_key_name)
    if key in known.revoked or (known.accepted and key not in known.accepted):
        raise ChangedHostKeyError(
            f"{config.name} ({options}) shows {key.fingerprint}, but another key was accepted for "
            f"{options.host_key_name}, or this one was revoked. If it was set up anew, remove its old line from "
            f"{' or '.join(str(file) for file in files if file.is_file())} first",
            config.name,
        )
    if key not in known.accepted:
        accept_host_key(inventory.known_hosts, options.host_key_name, key)


def _options(config: DeviceConfig, inventory: Inventory) -> SshOptions:
    assert config.target is not None
    ssh_config = inventory.path.parent / config.ssh_config if config.ssh_config else None
    return resolve_options(config.target, ssh_config)
