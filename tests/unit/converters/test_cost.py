"""What a file asks of a board."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_converters.cost import file_cost
from edgepress_converters.errors import NotTFLiteError

MODELS = Path(__file__).parents[2] / "cases" / "models"


@pytest.mark.parametrize(("name", "macs", "is_integer"), [("dense_float32", 32, False), ("conv_int8", 384, True)])
def test_multiplications_of_convolutions_and_matrix_products_are_counted(
    name: str, macs: int, is_integer: bool
) -> None:
    cost = file_cost(MODELS / f"{name}.tflite")
    assert (cost.macs, cost.is_integer) == (macs, is_integer)
    assert cost.constant_bytes > 0


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"no")
    with pytest.raises(NotTFLiteError):
        file_cost(tmp_path / "model.tflite")
