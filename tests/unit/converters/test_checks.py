from __future__ import annotations

import numpy as np
import pytest
from edgepress_converters.checks import calibration_samples
from edgepress_converters.errors import CalibrationError
from edgepress_converters.options import ConversionOptions
from hypothesis import given
from hypothesis import strategies as st


@given(total=st.integers(1, 400), wanted=st.integers(1, 400))
def test_calibration_takes_as_many_as_asked_from_the_first_to_the_last(total: int, wanted: int) -> None:
    options = ConversionOptions("int8", calibration_samples=wanted)
    chosen = calibration_samples(options, (np.arange(total), np.arange(total) * 10))
    assert chosen is not None
    first, second = chosen
    assert len(first) == min(total, wanted)
    assert len(set(first)) == len(first)
    assert first[0] == 0
    assert first[-1] == total - 1 or len(first) == 1
    gaps = np.diff(first)
    assert gaps.max(initial=0) - gaps.min(initial=total) <= 1
    assert (second == first * 10).all()


@pytest.mark.parametrize("format", ["float32", "float16", "dynamic"])
def test_formats_without_activation_ranges_ignore_calibration_data(format: str) -> None:
    assert calibration_samples(ConversionOptions(format), (np.array([np.nan]),)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (None, "got none"),
        ((), "got none"),
        ((np.zeros((0, 4)),), "got none"),
        ((np.zeros((3, 4)), np.zeros((4, 4))), r"got \[3, 4\]"),
        ((np.zeros((3, 4)), np.full((3, 4), np.inf)), "input 1 contain NaN or infinity"),
    ],
)
def test_calibration_data_that_cannot_be_used_are_refused(arrays: tuple[np.ndarray, ...] | None, said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        calibration_samples(ConversionOptions("int8"), arrays)
