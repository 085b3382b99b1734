"""What would spoil a measurement on a board, and what to do about it: asked before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepress.devices.profiles import fitting_profile

if TYPE_CHECKING:
    from edgepress.devices.inventory import DeviceConfig
    from edgepress.devices.profiles import DeviceProfile
    from edgepress_agent.protocol.messages import DeviceFacts

BUSY_LOAD_PER_CPU = 0.3
WARM_C = 60.0  # where the plans' gate stands
SMALL_MEMORY_BYTES = 600 << 20
CLOCK_TOLERANCE = 0.02
SET_GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"

_BITS = ("under-voltage", "a capped clock", "throttling", "the soft temperature limit")
_NOW, _STICKY = 0xF, 16


@dataclass(frozen=True)
class Spoiler:
    """Something that makes times on this board less trustworthy. ``remedy`` is a sentence or one line for a shell."""

    code: str
    what: str
    remedy: str


def find_spoilers(facts: DeviceFacts, config: DeviceConfig, profile: DeviceProfile | None) -> tuple[Spoiler, ...]:
    """Return what speaks against measuring now, the gravest first."""
    return (
        *_system(facts),
        *_throttling(facts.throttled_bits),
        *_heat(facts, profile),
        *_clock(facts, config, profile),
        *_load(facts),
        *_runtimes(facts, config),
        *_identity(facts, config),
    )


def _system(facts: DeviceFacts) -> Iterator[Spoiler]:
    if facts.emulated:
        yield Spoiler("emulated", "instructions are emulated", "measure on a board; this one is for trying things out")
    if facts.pointer_bits == 32 and facts.machine == "aarch64":
        yield Spoiler(
            "32-bit-userland",
            "a 64-bit kernel runs a 32-bit system, which has the slower kernels of tflite-runtime only",
            "install the 64-bit image of Raspberry Pi OS",
        )
    if facts.memory_total_bytes < SMALL_MEMORY_BYTES:
        size = facts.memory_total_bytes / 2**20
        yield Spoiler(
            "small-memory",
            f"{size:.0f} MiB of memory: larger models swap",
            "stop the desktop: sudo systemctl isolate multi-user",
        )


def _throttling(bits: int | None) -> Iterator[Spoiler]:
    if bits is None:
        return
    now = [word for bit, word in enumerate(_BITS) if bits >> bit & 1]
    since = [word for bit, word in enumerate(_BITS) if bits >> (_STICKY + bit) & 1 and not bits >> bit & 1]
    if now:
        yield Spoiler(
            "throttled",
            f"the firmware reports {' and '.join(now)} at this moment",
            "use the board's own power supply and a shorter cable; cool it",
        )
    if since:
        yield Spoiler(
            "throttled-before",
            f"since it was booted the firmware has reported {' and '.join(since)}",
            "sudo reboot, then look again",
        )


def _heat(facts: DeviceFacts, profile: DeviceProfile | None) -> Iterator[Spoiler]:
    soft = profile.soft_limit_temperature_c if profile else None
    limit = min(WARM_C, soft.value) if soft else WARM_C
    if facts.temperature_c is not None and facts.temperature_c >= limit:
        yield Spoiler(
            "warm",
            f"the CPU has {facts.temperature_c:.0f} C before any load; measurements wait for {limit:.0f} C",
            "give it a heat sink or a fan, and let it rest",
        )


def _clock(facts: DeviceFacts, config: DeviceConfig, profile: DeviceProfile | None) -> Iterator[Spoiler]:
    if facts.governor is not None and facts.governor != "performance":
        if config.allow_sudo:
            yield Spoiler(
                "governor", f"the governor is {facts.governor}", "measurements set it and put it back, as you allowed"
            )
        else:
            yield Spoiler("governor", f"the governor is {facts.governor}: the clock follows the load", SET_GOVERNOR)
    promised = profile.cpu_max_hz if profile else None
    if promised and facts.cpu_max_hz and facts.cpu_max_hz < (1 - CLOCK_TOLERANCE) * promised.value:
        yield Spoiler(
            "clock",
            f"its highest clock is {facts.cpu_max_hz / 1e6:.0f} MHz; its kind has {promised.value / 1e6:.0f}",
            "look for arm_freq in /boot/firmware/config.txt, and update the firmware",
        )


def _load(facts: DeviceFacts) -> Iterator[Spoiler]:
    if facts.load_1min > BUSY_LOAD_PER_CPU * facts.cpu_count:
        yield Spoiler(
            "load",
            f"it is busy: load {facts.load_1min:.2f} on {facts.cpu_count} CPUs",
            "top -b -n 1 | head -15    # then stop what is not needed",
        )


def _runtimes(facts: DeviceFacts, config: DeviceConfig) -> Iterator[Spoiler]:
    if facts.runtimes and all(runtime.name == "tflite-runtime" for runtime in facts.runtimes):
        yield Spoiler(
            "int8-without-delegate",
            "tflite-runtime does not hand int8 models to XNNPACK: int8 against float32 compares two libraries",
            f"edgepress device provision {config.name} --runtime ai-edge-litert",
        )


def _identity(facts: DeviceFacts, config: DeviceConfig) -> Iterator[Spoiler]:
    fitting = fitting_profile(facts)
    if config.profile is not None and fitting is not None and facts.compatible and fitting != config.profile:
        yield Spoiler(
            "profile",
            f"the inventory says {config.profile}, but the board is a {fitting}",
            f"edgepress device add {config.name} {config.target} --profile {fitting}",
        )
    if facts.physical_id is None:
        yield Spoiler(
            "no-identity",
            "it has no serial number: boards of this name are taken for one",
            "give every board a name of its own",
        )
