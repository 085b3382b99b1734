"""What the pipeline refuses before any work."""

from pathlib import Path

import pytest

import edgepress
from edgepress.errors import DataError, InputError, ModelError, RecipeError
from edgepress.pipeline import _artifacts
from edgepress.progress import Silent

MODELS = Path(__file__).parents[1] / "cases/models"


def test_a_plan_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"no plan 'thorough'; there are .*quick, standard"):
        edgepress.bench([MODELS / "conv_int8.tflite"], devices=["local"], plan="thorough")


def test_a_file_that_is_no_model_is_refused_before_a_device_is_reached(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"hello")
    with pytest.raises(ModelError, match=r"model.tflite"):
        edgepress.bench([tmp_path / "model.tflite"], devices=["no-such-device"])


def test_calibrated_formats_ask_for_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give --data"):
        edgepress.convert("model.keras", format="int8", output=tmp_path / "x.tflite")


def test_two_recipes_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('name = "int8"\n')
    monkeypatch.setattr("edgepress.pipeline.Source", lambda *_: None)
    with pytest.raises(RecipeError, match="several of the recipes are called 'int8'"):
        _artifacts(
            "model.keras",
            dataset=None,  # type: ignore[arg-type]
            recipes=["int8", str(tmp_path / "mine.toml")],
            pool=None,  # type: ignore[arg-type]
            metric=None,
            imports=(),
            seed=0,
            cache=None,
            judge=None,
            progress=Silent(),
        )
