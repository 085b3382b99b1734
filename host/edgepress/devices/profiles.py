"""What the kinds of boards promise: one TOML file each, every figure with its source."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edgepress
from edgepress.errors import InventoryError

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import DeviceFacts

SCHEMA = 1
GENERIC = "generic-arm64"
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


class ReferenceLatency(BaseModel):
    """What somebody has published for a model on such a board: an order of magnitude to compare with."""

    model_config = _CONFIG

    model: str
    format: Literal["float32", "float16", "dynamic", "int8", "int16x8"]
    threads: Positive
    latency_ms: PositiveFloat
    status: Literal["measured", "documented"]
    source: Annotated[str, Field(min_length=1)]


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
        hard_limit_temperature_c: what the firmware never lets it exceed.
        cpu_features: the instruction sets among ``Features`` in ``/proc/cpuinfo``.
        l1d_cache_bytes: of each core.
        memory_read_bytes_per_s: one core.
        float32_flops_core, int8_ops_per_s_core: the arithmetic peak of one core; a multiply-accumulate is two.
        float32_channel_multiple, int8_channel_multiple: output channels that fill the kernels' tiles.
        reference_latency: published latencies.
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
    hard_limit_temperature_c: Figure[float] | None = None
    cpu_features: Figure[Annotated[tuple[str, ...], Field(strict=False)]] | None = None
    l1d_cache_bytes: Figure[Positive] | None = None
    l3_cache_bytes: Figure[Positive] | None = None
    memory_read_bytes_per_s: Figure[PositiveFloat] | None = None
    float32_flops_core: Figure[PositiveFloat] | None = None
    int8_ops_per_s_core: Figure[PositiveFloat] | None = None
    float32_channel_multiple: Figure[Positive] | None = None
    int8_channel_multiple: Figure[Positive] | None = None
    reference_latency: Annotated[tuple[ReferenceLatency, ...], Field(strict=False)] = ()

    @property
    def last_cache_bytes(self) -> Figure[int] | None:
        """The largest cache before memory."""
        return self.l3_cache_bytes or self.l2_cache_bytes

    def channel_multiple(self, format: str) -> int | None:
        """Return how many output channels fill the tiles of the kernels that run a TFLite format; None: not known."""
        figure = self.int8_channel_multiple if format in ("int8", "dynamic") else self.float32_channel_multiple
        return figure.value if figure else None


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


def fitting_profile(facts: DeviceFacts) -> str | None:
    """Return the name of the profile of a board's kind, or None: its device tree says which board it is; a 64-bit ARM
    board that none describes gets ``generic-arm64``."""
    for name in profile_names():
        compatible = load_profile(name).device_tree_compatible
        if compatible is not None and compatible in facts.compatible:
            return name
    is_arm = facts.machine in ("aarch64", "arm64") and facts.pointer_bits == 64
    return GENERIC if is_arm else None


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
