"""Numbers for people. Files and JSON keep nanoseconds, bytes and fractions."""

from __future__ import annotations

_TIME_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))
_SIZE_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def format_duration(duration_ns: int) -> str:
    """``62.9 µs``, ``1.24 ms``: three digits."""
    for unit_ns, name in _TIME_UNITS:
        if duration_ns >= 0.9995 * unit_ns:  # 999.6 us would print as "1000 us"
            return f"{three_digits(duration_ns / unit_ns)} {name}"
    return f"{duration_ns} ns"


def format_size(size_bytes: int) -> str:
    """``512 B``, ``14.8 KiB``, ``3.36 MiB``: three digits."""
    for unit_bytes, name in _SIZE_UNITS:
        if size_bytes >= 0.9995 * unit_bytes:
            return f"{three_digits(size_bytes / unit_bytes)} {name}"
    return f"{size_bytes} B"


def format_factor(factor: float) -> str:
    """``0.27x``, ``1.00x``, ``12.4x``."""
    return f"{three_digits(factor)}x"


def format_metric(value: float, name: str) -> str:
    """An accuracy in percent (``97.8%``), another metric in four digits."""
    return f"{100 * value:.1f}%" if is_fraction(name) else f"{value:.4g}"


def is_fraction(name: str) -> bool:
    """Whether a metric is a share of the samples, which people read in percent."""
    return "accuracy" in name


def three_digits(value: float) -> str:
    """A positive number with three significant digits and no exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
