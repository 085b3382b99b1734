"""The devices that a user or a team has: ``devices.toml``, which can be kept in git.

::

    schema = 1

    [devices.pi4]
    target = "pi@raspberrypi.local"      # [user@]host[:port], or a Host of the ssh config
    profile = "raspberry-pi-4b"          # optional, as are all that follow
    runtime = "ai-edge-litert==2.1.6"    # or without a version
    home = "/mnt/ssd/edgepress"          # EDGEPRESS_HOME on the board; default ~/.edgepress
    python = "/usr/bin/python3.11"       # what runs the agent there; default python3
    ssh_config = "team_ssh_config"       # instead of ~/.ssh/config; relative to this file
    allow_sudo = true                    # measurements may set the CPU governor by `sudo -n`, and put it back

    [groups]
    pis = ["pi4", "zero"]

The device ``local`` is this machine. It always exists without being written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import platformdirs
import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from tomlkit.exceptions import TOMLKitError

from edgepress.errors import InventoryError, UnknownDeviceError
from edgepress.transport.atomic_file import locked, write_atomically
from edgepress.transport.ssh_options import parse_target

# SCHEMA history. A change to what devices.toml may say needs a line:
#   1  first version
SCHEMA = 1
LOCAL = "local"
ENVIRONMENT_VARIABLE = "EDGEPRESS_DEVICES"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RUNTIME = re.compile(r"(tflite-runtime|ai-edge-litert)(==[0-9][0-9A-Za-z.]*)?")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: letters, digits, '.', '_' and '-', at most 64, no sign in front")
    return name


def _check_target(target: str) -> str:
    parse_target(target)
    return target


def _check_runtime(runtime: str) -> str:
    if not _RUNTIME.fullmatch(runtime):
        raise ValueError(f"{runtime!r} is no runtime: expected tflite-runtime or ai-edge-litert, with ==VERSION or not")
    return runtime


Name = Annotated[str, AfterValidator(_check_name)]


class DeviceConfig(BaseModel):
    """One device as the user describes it. ``target`` is None for ``local`` alone."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: Name
    target: Annotated[str, AfterValidator(_check_target)] | None = None
    profile: str | None = None
    runtime: Annotated[str, AfterValidator(_check_runtime)] | None = None
    home: str | None = None
    python: str | None = None
    ssh_config: str | None = None
    allow_sudo: bool = False


class Inventory:
    """The content of one ``devices.toml``; comments and layout are kept when it changes.

    Changes are written at once, under a lock, to the file as it is then: two commands never undo each other's work.
    """

    def __init__(self, path: Path, devices: Mapping[str, DeviceConfig], groups: Mapping[str, tuple[str, ...]]) -> None:
        self.path = path
        self._take(devices, groups)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read the inventory: ``path``, else ``$EDGEPRESS_DEVICES``, else ``./devices.toml`` where there is one, else
        the user's own. A file that does not exist is an inventory without devices.

        Raises:
            InventoryError: the file cannot be read, is no TOML, has another schema or a value that is not allowed.
        """
        path = path or default_path()
        devices, groups = _parse(_read(path), path)
        return cls(path, devices, groups)

    @property
    def known_hosts(self) -> Path:
        """The host keys that `edgepress device trust` has accepted: a file beside the inventory."""
        return self.path.with_name("known_hosts")

    def resolve(self, names: Sequence[str]) -> list[DeviceConfig]:
        """Return the devices that were asked for, each once, in the order asked.

        Args:
            names: names, ``@group`` for all of a group, and several of them separated by commas.

        Raises:
            UnknownDeviceError: no such device or group, or nothing in the group. Lists those that exist.
        """
        wanted: dict[str, DeviceConfig] = {}
        for word in (part.strip() for name in names for part in name.split(",")):
            for name in self._group(word[1:]) if word.startswith("@") else (word,):
                wanted[name] = self.device(name)
        return list(wanted.values())

    def device(self, name: str) -> DeviceConfig:
        """Return one device.

        Raises:
            UnknownDeviceError: no such device.
        """
        if name not in self.devices:
            raise UnknownDeviceError(
                f"no device named {name!r} in {self.path}; there are {', '.join(self.devices)}. "
                f"Add it with `edgepress device add {name or 'NAME'} pi@raspberrypi.local`",
                name,
            )
        return self.devices[name]

    def add(self, config: DeviceConfig) -> None:
        """Add a device, or replace the one of its name.

        Raises:
            InventoryError: ``local`` was to be given a target, or the file cannot be written.
        """
        if config.name == LOCAL or config.target is None:
            raise InventoryError(
                f"the name {LOCAL!r} is this machine's; every other device needs a target, such as "
                "pi@raspberrypi.local",
                config.name,
            )
        values = config.model_dump(exclude={"name"}, exclude_defaults=True)

        def change(document: tomlkit.TOMLDocument) -> None:
            devices = document.setdefault("devices", tomlkit.table(is_super_table=True))
            table = devices.setdefault(config.name, {})  # changed key by key: its comments stay
            for key in table.keys() - values.keys():
                del table[key]
            table.update(values)

        self._change(change)

    def remove(self, name: str) -> None:
        """Remove a device, from its groups too.

        Raises:
            UnknownDeviceError: no such device in the file.
        """
        if name == LOCAL:
            raise InventoryError(f"{LOCAL!r} is this machine; it cannot be removed", name)
        self.device(name)

        def change(document: tomlkit.TOMLDocument) -> None:
            document.get("devices", {}).pop(name, None)
            for members in document.get("groups", {}).values():
                while name in members:
                    members.remove(name)

        self._change(change)

    def _take(self, devices: Mapping[str, DeviceConfig], groups: Mapping[str, tuple[str, ...]]) -> None:
        self.devices = {LOCAL: DeviceConfig(name=LOCAL, profile=LOCAL), **devices}
        self.groups = dict(groups)

    def _group(self, name: str) -> tuple[str, ...]:
        if name not in self.groups:
            known = ", ".join(f"@{group}" for group in self.groups) or "none"
            raise UnknownDeviceError(f"no group @{name} in {self.path}; there are {known}", name)
        if not self.groups[name]:
            raise UnknownDeviceError(f"group @{name} in {self.path} has no devices", name)
        return self.groups[name]

    def _change(self, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
        try:
            with locked(self.path):
                document = _read(self.path)
                change(document)
                devices, groups = _parse(document, self.path)
                write_atomically(self.path, tomlkit.dumps(document))
        except OSError as error:
            raise InventoryError(f"{self.path} cannot be written: {error.strerror}") from error
        self._take(devices, groups)


def default_path() -> Path:
    """Return where the inventory is when nobody names a file."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    here = Path("devices.toml").absolute()
    return here if here.is_file() else Path(platformdirs.user_config_dir("edgepress")) / "devices.toml"


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = tomlkit.document()
        document["schema"] = SCHEMA
        return document
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{path} cannot be read: {error}") from error
    except TOMLKitError as error:
        raise InventoryError(f"{path} is no TOML: {error}") from error


def _parse(document: tomlkit.TOMLDocument, path: Path) -> tuple[dict[str, DeviceConfig], dict[str, tuple[str, ...]]]:
    content = document.unwrap()
    _check_schema(content.get("schema"), path)
    unknown = sorted(set(content) - {"schema", "devices", "groups"})
    if unknown:
        raise InventoryError(f"{path}: unknown key {unknown[0]!r}; known are schema, devices, groups")
    devices = {name: _device(name, values, path) for name, values in _table(content, "devices", path).items()}
    groups = {}
    for name, members in _table(content, "groups", path).items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise InventoryError(f"{path}: groups.{name} must be a list of device names, got {members!r}")
        missing = [member for member in members if member not in devices and member != LOCAL]
        if missing:
            raise InventoryError(
                f"{path}: groups.{name} names {missing[0]!r}; the devices are {', '.join([LOCAL, *devices])}"
            )
        groups[name] = tuple(members)
    return devices, groups


def _check_schema(schema: object, path: Path) -> None:
    if schema == SCHEMA and type(schema) is int:
        return
    if type(schema) is int and schema > SCHEMA:
        raise InventoryError(
            f"{path} has schema {schema}; this edgepress knows up to {SCHEMA}. Upgrade it: pip install -U edgepress"
        )
    raise InventoryError(
        f"{path} has schema {schema!r}; expected {SCHEMA}. Write `schema = {SCHEMA}` into its first line and check the "
        "devices with `edgepress device list`"
    )


def _table(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise InventoryError(f"{path}: {key} must be a table, got {table!r}")
    return table


def _device(name: str, values: Any, path: Path) -> DeviceConfig:
    where = f"{path}: devices.{name}"
    if not isinstance(values, dict):
        raise InventoryError(f"{where} must be a table, got {values!r}", name)
    if name == LOCAL:
        raise InventoryError(f"{where}: the name {LOCAL!r} is this machine's; give the device another", name)
    if "target" not in values:
        raise InventoryError(f'{where} has no target; expected one such as "pi@raspberrypi.local"', name)
    try:
        return DeviceConfig.model_validate({**values, "name": name})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        known = ", ".join(field for field in DeviceConfig.model_fields if field != "name")
        raise InventoryError(f"{where}.{key}: {first['msg']}; got {first['input']!r}. Keys are {known}", name) from None
