from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.verification.goldens import Goldens
from edgepress.verification.output_check import (
    AS_GOOD_MARGIN,
    FLOAT_TOLERANCE,
    LSB_TOLERANCE,
    OutputCheckLevel,
    check_outputs,
)
from edgepress_converters.model import TensorSpec, TFLiteModel

INT8 = TensorSpec("class", 0, "int8", (1, 4), 0.5, -3)
FLOAT = TensorSpec("class", 0, "float32", (1, 4), None, None)
INDEX = TensorSpec("index", 0, "int64", (1,), None, None)


def model_with(*outputs: TensorSpec) -> TFLiteModel:
    return TFLiteModel(Path("m.tflite"), "", 0, (), outputs, (), (), (), "")


def goldens(*host: Any, reference: tuple[Any, ...] | None = None) -> Goldens:
    return Goldens((), reference, host)


def quantized(*rows: list[int]) -> Any:
    return np.array(rows, np.int8)


def test_the_levels_have_the_names_that_the_table_shows() -> None:
    assert [str(level) for level in OutputCheckLevel] == ["identical", "within tolerance", "as good", "wrong"]


def test_the_same_bytes_are_identical() -> None:
    host = quantized([1, 2, 3, 4])
    check = check_outputs(goldens(host), model_with(INT8), (host.copy(),))
    assert (check.level, check.max_abs_error, check.max_lsb) == (OutputCheckLevel.IDENTICAL, 0.0, 0)


@pytest.mark.parametrize(
    ("steps", "level"), [(1, "within tolerance"), (LSB_TOLERANCE, "within tolerance"), (3, "wrong")]
)
def test_int8_is_within_tolerance_up_to_two_steps(steps: int, level: str) -> None:
    check = check_outputs(goldens(quantized([1, 2, 3, 4])), model_with(INT8), (quantized([1, 2 - steps, 3, 4]),))
    assert check.level == level
    assert check.max_lsb == steps
    assert check.max_abs_error == steps * 0.5
    assert f"up to {steps} steps (tolerance 2)" in check.message


@given(low=st.floats(-100, 100, width=32), span=st.floats(1, 100, width=32))
def test_float_is_within_tolerance_relative_to_the_range_of_the_output(low: float, span: float) -> None:
    host = np.linspace(low, low + span, 8, dtype=np.float32).reshape(2, 4)
    step = np.float32(FLOAT_TOLERANCE * span)
    near, far = host.copy(), host.copy()
    near[1, 2] += step / 2
    far[1, 2] += step * 2 if step > 1e-5 * np.abs(host).max() else 1
    assert check_outputs(goldens(host), model_with(FLOAT), (near,)).level is OutputCheckLevel.WITHIN_TOLERANCE
    check = check_outputs(goldens(host), model_with(FLOAT), (far,))
    assert check.level is OutputCheckLevel.WRONG
    assert check.max_abs_error == pytest.approx(float(far[1, 2] - host[1, 2]))
    assert check.max_lsb is None


def test_an_output_that_hardly_varies_may_still_be_rounded() -> None:
    host = np.full((3, 4), 64.0, np.float32)
    rounded = np.nextafter(host, np.float32(100))
    assert check_outputs(goldens(host), model_with(FLOAT), (rounded,)).level is OutputCheckLevel.WITHIN_TOLERANCE
    assert check_outputs(goldens(host), model_with(FLOAT), (host * np.float32(1.01),)).level is OutputCheckLevel.WRONG


def test_another_class_index_is_wrong_however_near_its_number() -> None:
    check = check_outputs(goldens(np.array([3], np.int64)), model_with(INDEX), (np.array([4], np.int64),))
    assert check.level is OutputCheckLevel.WRONG


def test_a_board_no_further_from_the_reference_than_the_host_is_as_good() -> None:
    reference = np.zeros((1, 4), np.float32)
    host, board = quantized([7, -3, -3, -3]), quantized([-3, -3, -3, 7])  # each 5.0 off, at another place
    check = check_outputs(goldens(host, reference=(reference,)), model_with(INT8), (board,))
    assert check.level is OutputCheckLevel.AS_GOOD
    assert check.max_lsb == 10
    assert "RMS error against the float32 model is 2.5, this machine's 2.5" in check.message


def test_a_board_further_from_the_reference_than_the_margin_is_wrong_and_says_how_far() -> None:
    reference = np.zeros((1, 4), np.float32)
    host, board = quantized([7, -3, -3, -3]), quantized([-3, -3, -3, 17])  # 5.0 and 10.0 off
    check = check_outputs(goldens(host, reference=(reference,)), model_with(INT8), (board,))
    assert check.level is OutputCheckLevel.WRONG
    assert f"is 5, this machine's 2.5 (at most {AS_GOOD_MARGIN * 2.5:.3g} allowed)" in check.message


@pytest.mark.parametrize(("steps", "level"), [(9, OutputCheckLevel.AS_GOOD), (40, OutputCheckLevel.WRONG)])
def test_where_the_host_has_hardly_an_error_one_input_of_many_may_be_a_few_steps_off(
    steps: int, level: OutputCheckLevel
) -> None:
    reference = np.zeros((16, 4), np.float32)
    host, board = quantized(*[[-3] * 4] * 16), quantized(*[[-3] * 4] * 15, [-3, -3, -3 + steps, -3 - steps])
    assert check_outputs(goldens(host, reference=(reference,)), model_with(INT8), (board,)).level is level


def test_without_a_reference_only_the_distance_from_the_host_counts() -> None:
    check = check_outputs(goldens(quantized([7, 0, 0, 0])), model_with(INT8), (quantized([0, 0, 0, 7]),))
    assert check.level is OutputCheckLevel.WRONG
    assert "no float32 reference to judge by" in check.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_infinity_is_wrong_even_where_this_machine_has_it_too(value: float) -> None:
    host = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32)
    board = host.copy()
    board[1, 1] = value
    check = check_outputs(goldens(host), model_with(FLOAT), (board,))
    assert (check.level, check.max_abs_error) == (OutputCheckLevel.WRONG, None)
    assert "NaN or infinity for 1 of 2 inputs" in check.message
    both = check_outputs(goldens(board), model_with(FLOAT), (board.copy(),))
    assert both.level is OutputCheckLevel.WRONG
    assert "as on this machine" in both.message
    assert check_outputs(goldens(board), model_with(FLOAT), (host,)).level is OutputCheckLevel.WRONG


@pytest.mark.parametrize(
    "board",
    [(), (quantized([1, 2, 3]),), (quantized([1, 2, 3, 4], [1, 2, 3, 4]),), (np.zeros((1, 4), np.float32),)],
)
def test_outputs_of_another_number_shape_or_dtype_are_wrong(board: tuple[Any, ...]) -> None:
    check = check_outputs(goldens(quantized([1, 2, 3, 4])), model_with(INT8), board)
    assert check.level is OutputCheckLevel.WRONG
    assert "instead of" in check.message


def test_the_worst_output_decides_and_is_named() -> None:
    host = (quantized([1, 2, 3, 4]), np.zeros((1, 4), np.float32))
    other = TensorSpec("score", 1, "float32", (1, 4), None, None)
    check = check_outputs(goldens(*host), model_with(INT8, other), (host[0], host[1] + 1))
    assert check.level is OutputCheckLevel.WRONG
    assert check.message.startswith("output 'score'")
    assert (check.max_abs_error, check.max_lsb) == (1.0, 0)


@given(
    host=st.lists(st.integers(-128, 127), min_size=4, max_size=4),
    board=st.lists(st.integers(-128, 127), min_size=4, max_size=4),
)
def test_a_level_never_claims_more_than_the_distance_allows(host: list[int], board: list[int]) -> None:
    check = check_outputs(goldens(quantized(host)), model_with(INT8), (quantized(board),))
    distance = max(abs(a - b) for a, b in zip(host, board, strict=True))
    assert check.max_lsb == distance
    assert (check.level is OutputCheckLevel.IDENTICAL) == (distance == 0)
    assert (check.level is OutputCheckLevel.WRONG) == (distance > LSB_TOLERANCE)
