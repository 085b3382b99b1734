"""A picture or an array becomes what a model takes, by its input spec."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgepress import inference
from edgepress.conversion import inspect
from edgepress.errors import DataError
from edgepress.inference import Answer, read_input
from edgepress_converters.model import TensorSpec

MODELS = Path(__file__).parents[1] / "cases/models"


def tensor(*shape: int) -> TensorSpec:
    return TensorSpec("image", 0, "float32", shape, None, None)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """4x2 pixels: the left half red, the right half blue."""
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2, 0] = 255
    pixels[:, 2:, 2] = 255
    path = tmp_path / "flag.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_picture_is_resized_and_scaled_as_the_spec_says(picture: Path) -> None:
    array = read_input(picture, tensor(1, 2, 4, 3), {"mean": (127.5,), "scale": (127.5,)})
    assert array.shape == (1, 2, 4, 3)
    np.testing.assert_allclose(array[0, 0, 0], [1, -1, -1])
    np.testing.assert_allclose(array[0, 0, 3], [-1, -1, 1])
    assert read_input(picture, tensor(1, 8, 8, 3), {}).shape == (1, 8, 8, 3)


def test_a_spec_may_ask_for_another_order_of_colours(picture: Path) -> None:
    array = read_input(picture, tensor(1, 2, 4, 3), {"color": "bgr"})
    np.testing.assert_array_equal(array[0, 0, 0], [0, 0, 255])


def test_a_gray_input_gets_luminance(picture: Path) -> None:
    array = read_input(picture, tensor(1, 2, 4, 1), {})
    assert array.shape == (1, 2, 4, 1)
    assert 0 < array[0, 0, 3, 0] < array[0, 0, 0, 0] < 255  # blue is darker than red


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 8, 8, 1)])
def test_an_array_may_come_with_or_without_the_batch(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(shape, np.float32))
    assert read_input(tmp_path / "x.npy", tensor(1, 8, 8, 1), {}).shape == (1, 8, 8, 1)


def _save(path: Path, value: Any) -> Path:
    np.save(path, value)
    return path


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.npy", None, "no such file"),
        ("x.txt", b"hello", "expected a .npy array or a picture"),
        ("x.npy", b"hello", "not a .npy array"),
        ("x.png", b"hello", "not a picture"),
        ("x.npy", np.ones((3, 3)), r"has shape \(3, 3\); input 'image' takes \(8, 8, 1\)"),
        ("x.npy", np.full((8, 8, 1), np.nan), "NaN"),
        ("x.npy", np.full((8, 8, 1), "a"), "dtype <U1; numbers are wanted"),
    ],
    ids=["missing", "text", "damaged-array", "damaged-picture", "shape", "nan", "words"],
)
def test_what_cannot_be_read_is_explained(name: str, content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        _save(path, content)
    with pytest.raises(DataError, match=said):
        read_input(path, tensor(1, 8, 8, 1), {})


def test_a_model_that_takes_no_picture_says_so(picture: Path) -> None:
    with pytest.raises(DataError, match="takes none"):
        read_input(picture, tensor(1, 16), {})


def test_answers_are_ranked_by_value_and_named_by_label() -> None:
    answer = Answer("local", "x 1", (np.array([0.1, 0.7, 0.2]),), ("cat", "dog", "bird"), 1000)
    assert answer.ranked(2) == [("dog", 0.7), ("bird", 0.2)]
    unnamed = Answer("local", "x 1", (np.array([0.1, 0.7, 0.2]),), (), 1000)
    assert unnamed.ranked(1) == [("1", 0.7)]


def test_an_answer_that_is_no_number_is_null_in_json() -> None:
    answer = Answer("local", "x 1", (np.array([0.5, np.nan, np.inf], np.float32),), (), 1000)
    assert json.loads(json.dumps(answer.as_json(), allow_nan=False))["outputs"] == [[0.5, None, None]]


def test_an_output_of_one_number_for_each_input_is_that_number_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = inspect(MODELS / "dense_float32.tflite")
    np.save(tmp_path / "x.npy", np.zeros(model.inputs[0].shape, np.float32))
    report = SimpleNamespace(runtime=SimpleNamespace(name="x", version="1"), latency_ns=(1000,))
    board = SimpleNamespace(name="pi4", runtime=lambda wanted: None)
    monkeypatch.setattr("edgepress.inference.Device.open", lambda device: nullcontext(board))
    monkeypatch.setattr("edgepress.inference.require_compatible", lambda *_: None)
    monkeypatch.setattr(
        "edgepress.inference.session.evaluate", lambda *_, **__: (report, (np.array([0.5], np.float32),))
    )
    answer = inference.infer(model.path, device="pi4", inputs=[tmp_path / "x.npy"])
    assert answer.as_json()["outputs"] == [0.5]
    assert answer.ranked(1) == [("0", 0.5)]
