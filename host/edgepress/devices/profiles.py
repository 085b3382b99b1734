"""What the kinds of boards promise: one TOML file each, every figure with its source."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edgepress
from edgepress.errors import InventoryError

SCHEMA = 1
Value = TypeVar("Value")

_CONFIG = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Figure(BaseModel, Generic[Value]):
    """A value with where it comes from. ``measured``: by edgepress itself; ``documented``: ``source`` says so."""

    model_config = _CONFIG

    value: Value
    status: Literal["measured", "documented"]
    source: Annotated[str, Field(min_length=1)]


Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class DeviceProfile(BaseModel):
    """A kind of board. A figure that is not known is None.

    Attributes:
        title: what people call it.
        device_tree_compatible: the first entry of ``/proc/device-tree/compatible`` by which it can be known.
        cpu_part: ARM part number, as ``/proc/cpuinfo`` has it.
        has_dot_product: int8 dot product instructions (``asimddp``), which the int8 kernels use.
        has_float16_arithmetic: ``asimdhp``.
        memory_bytes: the sizes it is sold with.
        memory_copy_bytes_per_s: one core, each byte counted once.
        throttle_temperature_c: where the firmware begins to lower the clock of the CPU.
        soft_limit_temperature_c: an earlier limit that some boards have.
    """

    model_config = _CONFIG

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: str
    title: str
    device_tree_compatible: str | None = None
    cpu: Figure[str] | None = None
    cpu_part: Figure[str] | None = None
    cpu_count: Figure[Positive] | None = None
    cpu_max_hz: Figure[Positive] | None = None
    has_dot_product: Figure[bool] | None = None
    has_float16_arithmetic: Figure[bool] | None = None
    l2_cache_bytes: Figure[Positive] | None = None
    memory_bytes: Figure[Annotated[tuple[Positive, ...], Field(strict=False)]] | None = None
    memory_copy_bytes_per_s: Figure[PositiveFloat] | None = None
    throttle_temperature_c: Figure[float] | None = None
    soft_limit_temperature_c: Figure[float] | None = None


def profile_names() -> list[str]:
    """Return the names of the profiles that come with edgepress."""
    return sorted(file.stem for file in _directory().glob("*.toml"))


def load_profile(name: str) -> DeviceProfile:
    """Read a profile.

    Raises:
        InventoryError: there is none of this name (lists those that exist), or it has a value that is not allowed.
    """
    if name not in profile_names():
        raise InventoryError(f"no device profile named {name!r}; there are {', '.join(profile_names())}")
    return read_profile(_directory() / f"{name}.toml")


def read_profile(file: Path) -> DeviceProfile:
    """Read a profile from a file.

    Raises:
        InventoryError: it is no TOML, has another schema, or a value that is not allowed.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InventoryError(f"{file} cannot be read as TOML: {error}") from error
    if content.get("schema") != SCHEMA:
        raise InventoryError(f"{file} has schema {content.get('schema')!r}; this edgepress reads {SCHEMA}")
    try:
        profile = DeviceProfile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InventoryError(f"{file}: {key}: {first['msg']}; got {first['input']!r}") from None
    if profile.name != file.stem:
        raise InventoryError(f"{file}: name is {profile.name!r}, but the file is called {file.name}")
    return profile


def _directory() -> Path:
    package = Path(edgepress.__file__).parent
    installed = package / "device_profiles"
    return installed if installed.is_dir() else package.parents[1] / "device_profiles"  # a checkout has it at its root
