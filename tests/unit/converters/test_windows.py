"""Cutting a file: windows that follow each other compute what the whole does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.windows import cut_window, list_operators, write_idle_model
from support.tflite_files import with_constants_behind

MODELS = Path(__file__).parents[2] / "cases" / "models"


def run(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Run a file on tensors by name; return its outputs by name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], values[details["name"]])
    interpreter.invoke()
    return {details["name"]: interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()}


def inputs(path: Path) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    generator = np.random.default_rng(0)
    details = Interpreter(model_path=str(path)).get_input_details()
    return {one["name"]: (generator.random(one["shape"]) * 100).astype(one["dtype"]) for one in details}


@pytest.mark.parametrize("name", ["dense_float32", "conv_int8"])
@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("behind", [False, True], ids=["", "constants behind the flatbuffer"])
def test_windows_one_after_another_compute_what_the_whole_does(
    name: str, length: int, behind: bool, tmp_path: Path
) -> None:
    path = MODELS / f"{name}.tflite"
    if behind:
        (tmp_path / "behind.tflite").write_bytes(with_constants_behind(path.read_bytes()))
        path = tmp_path / "behind.tflite"
    given = inputs(path)
    whole = run(path, given)
    values = dict(given)
    count = len(list_operators(path))
    for first in range(0, count, length):
        window = tmp_path / f"{first}.tflite"
        cut_window(path, first, min(first + length, count), window)
        values |= run(window, values)
        assert sum(operator.count for operator in read_model(window).operators) == min(length, count - first)
    for output, expected in whole.items():
        np.testing.assert_array_equal(values[output], expected)


def test_operators_are_listed_in_the_order_in_which_they_run() -> None:
    found = list_operators(MODELS / "conv_int8.tflite")
    assert [operator.index for operator in found] == list(range(len(found)))
    assert found[0].kind == "CONV_2D"
    assert found[0].macs > 0
    assert sum(operator.macs for operator in found) == 384


def test_a_window_has_the_constants_of_its_own_operators_only(tmp_path: Path) -> None:
    path = MODELS / "dense_float32.tflite"
    sizes = []
    for index in range(len(list_operators(path))):
        cut_window(path, index, index + 1, tmp_path / "window.tflite")
        sizes.append(sum(operator.constant_bytes for operator in read_model(tmp_path / "window.tflite").operators))
    assert sum(sizes) == sum(operator.constant_bytes for operator in read_model(path).operators)


def test_the_idle_model_adds_two_numbers(tmp_path: Path) -> None:
    write_idle_model(tmp_path / "idle.tflite")
    one, two = np.ones(1, np.float32), np.full(1, 2, np.float32)
    assert run(tmp_path / "idle.tflite", {"a": one, "b": two})["sum"] == 3


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"no")
    with pytest.raises(NotTFLiteError):
        list_operators(tmp_path / "model.tflite")
