"""How fast a board can be at best: its arithmetic peak and its memory's speed against what a model needs.

The roofline of Williams, Waterman and Patterson (2009, "Roofline: An Insightful Visual Performance Model"), for a whole
model: it cannot be faster than its multiplications at the peak of the cores in use, nor than its constants read once
from memory where they do not fit the caches. TFLite's kernels compute convolutions directly (XNNPACK and ruy have no
Winograd), so the count of multiplications is a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepress.devices.profiles import DeviceProfile
    from edgepress_converters.cost import FileCost


@dataclass(frozen=True)
class Bound:
    """The least latency that a profile's figures allow, ns; ``reason`` says by what, for people.

    ``is_measured``: every figure in it was measured by edgepress on such a board; otherwise it comes from documents.
    """

    latency_ns: int
    is_measured: bool
    reason: str


def bound_of(cost: FileCost, profile: DeviceProfile | None, threads: int) -> Bound | None:
    """Return the bound of a model on a kind of board; None where its profile has no figures, or the file no operators
    whose multiplications are known."""
    if profile is None or cost.macs == 0:
        return None
    peak = profile.int8_ops_per_s_core if cost.is_integer else profile.float32_flops_core
    bounds = []
    if peak is not None:
        cores = min(threads, profile.cpu_count.value if profile.cpu_count else threads)
        seconds = 2 * cost.macs / (peak.value * cores)
        word = "int8 operations" if cost.is_integer else "float32 operations"
        reason = f"{2 * cost.macs / 1e6:,.0f} million {word} on {cores} core{'s' * (cores > 1)}"
        bounds.append(Bound(round(seconds * 1e9), peak.status == "measured", reason))
    reading, cache = profile.memory_read_bytes_per_s, profile.last_cache_bytes
    if reading is not None and cache is not None and cost.constant_bytes > 2 * cache.value:
        seconds = (cost.constant_bytes - cache.value) / reading.value
        measured = reading.status == "measured" and cache.status == "measured"
        bounds.append(Bound(round(seconds * 1e9), measured, f"{cost.constant_bytes / 1e6:.1f} MB of constants to read"))
    return max(bounds, key=lambda bound: bound.latency_ns, default=None)


def roofline_share(bound: Bound | None, latency_ns: int) -> float | None:
    """Return which part of the speed that the bound allows was reached: 1 at the roofline."""
    return bound.latency_ns / latency_ns if bound is not None and latency_ns > 0 else None
