"""Numbers for people."""

from __future__ import annotations

import pytest

from edgepress.table.units import format_duration, format_factor, format_metric, format_size


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 ns"),
        (850, "850 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (62_940, "62.9 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (12_345_678, "12.3 ms"),
        (123_456_789, "123 ms"),
        (61_000_000_000, "61.0 s"),
    ],
)
def test_a_duration_has_three_digits(duration_ns: int, text: str) -> None:
    assert format_duration(duration_ns) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(512, "512 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (15_248, "14.9 KiB"), (3_523_215, "3.36 MiB")],
)
def test_a_size_has_binary_units(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


def test_a_factor_has_three_digits() -> None:
    assert [format_factor(value) for value in (0.267, 1, 12.36, 123.4)] == ["0.27x", "1.00x", "12.4x", "123x"]


def test_an_accuracy_is_read_in_percent_and_an_error_is_not() -> None:
    assert format_metric(0.97777, "sparse_categorical_accuracy") == "97.8%"
    assert format_metric(0.0123456, "mean_absolute_error") == "0.01235"
