from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.verification.goldens import Goldens
from edgepress.verification.output_check import (
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
    return TFLiteModel(Path("m.tflite"), "", 0, (), outputs, (), (), ())


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


def noisy(seed: int, size: float, inputs: int = 64) -> Any:
    """Answers of 16 classes, some steps of rounding away from SMOOTH."""
    random = np.random.default_rng(seed)
    return np.clip(SMOOTH[:inputs] + np.rint(random.normal(0, size, (inputs, 16))), -128, 127).astype(np.int8)


SMOOTH = np.random.default_rng(0).integers(-100, 100, (64, 16))
STEPS = TensorSpec("class", 0, "int8", (1, 16), 0.5, 0)


def beside_reference(board: Any, host: Any, plain: Any = None) -> Any:
    both = Goldens((), (SMOOTH[: len(host)].astype(np.float32) * 0.5,), (host,), None if plain is None else (plain,))
    return check_outputs(both, replace(model_with(STEPS), tensor_types=(("INT8", 9),)), (board,))


def test_a_board_is_as_good_where_it_differs_no_more_than_this_machines_own_kernels_do() -> None:
    host, plain, board = noisy(1, 4), noisy(2, 4), noisy(3, 4)
    check = beside_reference(board, host, plain)
    assert check.level is OutputCheckLevel.AS_GOOD
    assert "RMS error against the float32 model" in check.message
    assert "(64 inputs)" in check.message
    assert beside_reference(board, host).level is OutputCheckLevel.WRONG  # kernels that agree leave no room


def test_a_board_that_answers_as_the_kernels_without_xnnpack_do_is_identical() -> None:
    host, plain = noisy(1, 4), noisy(2, 4)
    check = beside_reference(plain.copy(), host, plain)
    assert (check.level, check.max_lsb) == (OutputCheckLevel.IDENTICAL, 0)


def test_a_board_further_from_the_reference_than_this_machine_is_wrong_and_says_how_far() -> None:
    check = beside_reference(noisy(3, 6), noisy(1, 4), noisy(2, 4))
    assert check.level is OutputCheckLevel.WRONG
    assert re.search(r"against the float32 model is \d.*this machine's \d.*at most \d.* allowed", check.message)


def test_without_a_reference_a_board_may_differ_as_this_machines_own_kernels_do() -> None:
    host, plain, board, far = (noisy(seed, size) for seed, size in ((1, 4), (2, 4), (3, 4), (4, 12)))
    known = goldens(host)
    both = replace(known, plain_outputs=(plain,))
    check = check_outputs(both, model_with(STEPS), (board,))
    assert check.level is OutputCheckLevel.AS_GOOD
    assert "there is no float32 reference to judge by" in check.message
    assert check_outputs(both, model_with(STEPS), (far,)).level is OutputCheckLevel.WRONG
    assert check_outputs(known, model_with(STEPS), (board,)).level is OutputCheckLevel.WRONG


def test_a_channel_that_differs_on_average_is_no_rounding() -> None:
    host, plain, board = noisy(1, 4), noisy(2, 4), noisy(3, 4)
    board[:, 5] = np.clip(board[:, 5].astype(int) + 6, -128, 127)
    check = beside_reference(board, host, plain)
    assert check.level is OutputCheckLevel.WRONG
    assert re.search(r"channel 5 differs by [0-9.]+ on average, \d+\.\d standard errors", check.message)


def test_another_largest_entry_on_more_than_a_hundredth_of_the_inputs_is_wrong() -> None:
    host = np.tile(np.array([0, 100, 0, 0], np.float32), (200, 1))
    host[:, 2] = 99.9  # 0.1 is no tie: ties are within the tolerance, which is 0.1 here
    few, many = host.copy(), host.copy()
    few[:2, 1], many[:3, 1] = 99.0, 99.0
    near = goldens(host, reference=(np.ones_like(host),))
    assert "largest" not in check_outputs(near, model_with(FLOAT), (few,)).message
    host[:, 2] = 99.5
    check = check_outputs(near, model_with(FLOAT), (many,))
    assert check.level is OutputCheckLevel.WRONG
    assert "another entry is the largest for 3 inputs (at most 2 allowed)" in check.message


def test_swapped_channels_in_the_file_itself_are_wrong_though_all_machines_agree() -> None:
    host = noisy(1, 1)
    host[:, [4, 9]] = host[:, [9, 4]]
    check = beside_reference(host.copy(), host)
    assert check.level is OutputCheckLevel.WRONG
    assert re.search(r"does not follow the float32 model: in channel [49] of 16 its RMS error is 1\.", check.message)
    assert "this machine's 1." in check.message


@pytest.mark.parametrize(("types", "level"), [("FLOAT32", "wrong"), ("FLOAT16", "wrong"), ("INT8", "identical")])
def test_a_file_of_floats_must_follow_the_float32_model_more_closely(types: str, level: str) -> None:
    reference = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    host = (reference + np.random.default_rng(1).normal(0, 0.1, reference.shape)).astype(np.float32)
    model = replace(model_with(FLOAT), tensor_types=((types, 3),))
    assert check_outputs(goldens(host, reference=(reference,)), model, (host.copy(),)).level == level


def test_a_channel_that_hardly_says_anything_is_not_judged_by_its_error() -> None:
    reference = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32) * np.float32([1, 1, 1, 0.01])
    host = reference.copy()
    host[:, 3] = 0
    assert check_outputs(goldens(host, reference=(reference,)), model_with(FLOAT), (host.copy(),)).level == "identical"


def test_outputs_that_are_dead_on_this_machine_are_measured_by_the_references_scale() -> None:
    host, reference = np.zeros((4, 4), np.float32), np.full((4, 4), 1e-3, np.float32)
    near = goldens(host, reference=(reference,))
    assert check_outputs(near, model_with(FLOAT), (host + np.float32(1e-9),)).level == "within tolerance"
    assert check_outputs(near, model_with(FLOAT), (host + np.float32(2e-3),)).level == "wrong"


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
