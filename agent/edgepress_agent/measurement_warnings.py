"""What makes a measurement less trustworthy, from what was seen around it. The verdict is the host's."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from edgepress_agent.board_state import governors_of
from edgepress_agent.protocol.messages import BoardState, MeasurementWarning, ProcessRun

BUSY_LOAD_PER_CPU = 0.3  # before the job has added its own
HOT_C = 75.0  # Raspberry Pi firmware begins to slow down at 80
FEW_SAMPLES = 130  # for p95 at confidence 0.99 (MLPerf inference rules, early stopping, d = 0)
FREQUENCY_TOLERANCE = 0.02

# vcgencmd get_throttled: bits 0-3 now, the same 16 higher since boot.
_NOW = 0xF
_THROTTLED_WORDS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


def warnings_of(
    processes: Sequence[ProcessRun], states: Sequence[BoardState], cpu_count: int, peaks_were_reset: bool
) -> Tuple[MeasurementWarning, ...]:
    """Return the warnings for one configuration.

    Args:
        states: the first was read before the job ran anything, the others before and after each process.
    """
    found: List[MeasurementWarning] = []

    def warn(code: str, message: str, **data: object) -> None:
        found.append(MeasurementWarning(code, message, data))

    governors = governors_of(states)
    if governors and governors != ["performance"]:
        warn("governor", f"the CPU governor is {' and '.join(governors)}, not performance", governors=governors)
    load = states[0].load_1min
    if load > BUSY_LOAD_PER_CPU * cpu_count:
        warn("load", f"the board was busy before the job: load {load:.2f} on {cpu_count} CPUs", load_1min=load)
    temperatures = [state.temperature_c for state in states if state.temperature_c is not None]
    if temperatures and max(temperatures) >= HOT_C:
        warn("hot", f"the CPU reached {max(temperatures):.1f} C", temperature_c=max(temperatures))
    frequencies = [state.cpu_hz for state in states if state.cpu_hz is not None]
    if frequencies and min(frequencies) < max(frequencies) * (1 - FREQUENCY_TOLERANCE):
        lowest, highest = min(frequencies), max(frequencies)
        message = f"the CPU's clock changed between {lowest / 1e6:.0f} and {highest / 1e6:.0f} MHz"
        warn("frequency-changed", message, min_hz=lowest, max_hz=highest)
    _warn_of_throttling(found, [state.throttled_bits for state in states if state.throttled_bits is not None])
    samples = sum(len(process.samples_ns) for process in processes)
    if processes and samples < FEW_SAMPLES:
        warn("few-samples", f"{samples} samples; p95 needs {FEW_SAMPLES}", samples=samples)
    swapped = max((process.memory.swap_bytes for process in processes), default=0)
    if swapped:
        warn("swapped", f"{swapped} bytes of a worker were swapped out: peak RSS is too low", swap_bytes=swapped)
    if not peaks_were_reset:
        warn("peak-not-reset", "the kernel does not let VmHWM be reset: peaks may be those of the runtime's import")
    return tuple(found)


def _warn_of_throttling(found: List[MeasurementWarning], readings: Sequence[int]) -> None:
    if not readings:
        return
    during = 0
    for bits in readings:
        during |= bits & _NOW
    during |= (readings[-1] & ~readings[0]) >> 16 & _NOW
    if during:
        words = _words(during)
        message = f"while it ran, the firmware reported {', '.join(words)}"
        found.append(MeasurementWarning("throttled", message, {"bits": during, "words": words}))
    earlier = readings[0] >> 16 & _NOW & ~during
    if earlier:
        words = _words(earlier)
        message = f"since it was booted the board has reported {', '.join(words)}"
        found.append(MeasurementWarning("throttled-before", message, {"bits": earlier, "words": words}))


def _words(bits: int) -> List[str]:
    return [word for position, word in enumerate(_THROTTLED_WORDS) if bits >> position & 1]
