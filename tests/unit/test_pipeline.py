"""What the pipeline refuses before any work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepress
from edgepress import pipeline
from edgepress.artifacts import Artifact
from edgepress.conversion import inspect
from edgepress.data import Dataset
from edgepress.data.pictures import Pictures
from edgepress.errors import DataError, InputError, ModelError, RecipeError, UnknownDeviceError
from edgepress.pipeline import _recipes
from support.compress_models import dense_net

MODELS = Path(__file__).parents[1] / "cases/models"


def test_a_plan_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"no plan 'thorough'; there are .*quick, standard"):
        edgepress.bench([MODELS / "conv_int8.tflite"], devices=["local"], plan="thorough")


def test_lists_that_name_nothing_are_refused_before_any_work(tmp_path: Path) -> None:
    def run(**given: Any) -> None:
        edgepress.run("model.keras", data="data.npz", **{"recipes": ["int8"], "devices": ["local"], **given})

    def bench(**given: Any) -> None:
        edgepress.bench(**{"files": [MODELS / "conv_int8.tflite"], "devices": ["local"], **given})

    for call, name, empty in (
        (run, "devices", "no device"),
        (run, "recipes", "no recipe"),
        (bench, "devices", "no device"),
        (bench, "files", "no file"),
        (bench, "threads", "no number of threads"),
        (bench, "delegate", "no delegate"),
    ):
        with pytest.raises(InputError, match=f"{empty} is named"):
            call(**{name: []})
    with pytest.raises(InputError, match="one seed at least; got 0"):
        run(seeds=0)
    with pytest.raises(InputError, match="no recipe is named"):
        edgepress.compress("model.keras", data="data.npz", recipes=[], output=tmp_path)


def test_a_file_that_is_no_model_is_refused_before_a_device_is_reached(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"hello")
    with pytest.raises(ModelError, match=r"model.tflite"):
        edgepress.bench([tmp_path / "model.tflite"], devices=["no-such-device"])


def test_calibrated_formats_ask_for_data(tmp_path: Path) -> None:
    dense_net().save(tmp_path / "model.keras")
    with pytest.raises(DataError, match="give --data"):
        edgepress.convert(tmp_path / "model.keras", format="int8", output=tmp_path / "x.tflite")


def test_convert_refuses_to_write_over_its_model_or_its_data(tmp_path: Path) -> None:
    model, data = tmp_path / "model.keras", tmp_path / "data.npz"
    model.write_bytes(b"weeks of training")
    (tmp_path / "link.tflite").symlink_to(model)
    for output, kept in ((model, model), (tmp_path / "link.tflite", model), (data, data)):
        with pytest.raises(InputError, match=f"would be written over {kept}"):
            edgepress.convert(model, format="int8", data=str(data), output=output)
    assert model.read_bytes() == b"weeks of training"


def test_compress_refuses_to_write_over_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("int8").mkdir()
    for recipes, model in ((["int8"], "model.keras"), (["float32", "int8"], "int8/model.keras")):
        Path(model).write_bytes(b"weeks of training")
        with pytest.raises(InputError, match=f"would be written over {model}"):
            edgepress.compress(model, data="data.npz", recipes=recipes, output=Path())


def test_compress_refuses_to_write_over_the_teacher_or_student_of_a_recipe(tmp_path: Path) -> None:
    kept = tmp_path / "big" / "model.keras"
    kept.parent.mkdir()
    kept.write_bytes(b"weeks of training")
    for role in ("teacher", "student"):
        (tmp_path / "taught.toml").write_text(f'[[step]]\nkind = "distill"\n{role} = "big/model.keras"\n')
        with pytest.raises(InputError, match=f"would be written over {kept}"):
            edgepress.compress(
                "model.keras", data="data.npz", recipes=[str(tmp_path / "taught.toml")], output=kept.parent
            )


def test_compress_takes_its_output_as_a_string(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"weeks of training")
    for recipes in (["int8"], ["float32", "int8"]):
        with pytest.raises(DataError, match="there is no file data"):
            edgepress.compress("model.keras", data="data.npz", recipes=recipes, output=str(tmp_path))


def test_recipes_made_in_python_are_taken_as_they_are() -> None:
    step = edgepress.load_recipe("prune50-int8").step[0]
    recipes = [
        edgepress.Recipe(name=f"prune{share}", step=(step.model_copy(update={"sparsity": share}),))
        for share in (0.25, 0.75)
    ]
    assert _recipes([*recipes, "int8"]) == [*recipes, edgepress.load_recipe("int8")]


def test_one_name_alone_is_a_recipe_or_a_device(tmp_path: Path) -> None:
    assert _recipes("int8") == _recipes(["int8"])
    with pytest.raises(UnknownDeviceError, match="'nowhere'"):
        edgepress.run("model.keras", data="data.npz", recipes="int8", devices="nowhere", db=str(tmp_path / "table.db"))


def test_two_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "int8"\n')
    with pytest.raises(RecipeError, match="several of the recipes are called 'int8'"):
        _recipes(["int8", str(tmp_path / "mine.toml")])


def test_recipes_that_read_pictures_differently_are_refused(tmp_path: Path) -> None:
    for side in (32, 64):
        (tmp_path / f"{side}.toml").write_text(f"[input]\nsize = [{side}, {side}]\n")
    with pytest.raises(RecipeError, match=r"32 and 64 differ in \[input\]"):
        _recipes(["int8", str(tmp_path / "32.toml"), str(tmp_path / "64.toml")])


def test_recipes_with_steps_are_made_once_for_each_seed_and_others_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = []
    monkeypatch.setattr(pipeline.boards, "reach", lambda names, *_: names)
    monkeypatch.setattr(pipeline, "Source", lambda *_: None)
    monkeypatch.setattr(pipeline._Maker, "made", lambda self, recipe, seed: made.append((recipe.name, seed)))
    x, y = np.zeros((6, 4), np.float32), np.arange(6) % 2

    with pytest.raises(AttributeError):  # of the artifacts that were not made
        edgepress.run(
            "model.keras",
            data=Dataset.from_arrays(x, y, x, y),
            recipes=["int8", "svd-int8"],
            devices=["local"],
            seed=3,
            seeds=3,
            db=str(tmp_path / "table.db"),
        )

    assert made == [("int8", 3), ("svd-int8", 3), ("svd-int8", 4), ("svd-int8", 5)]


def test_a_file_that_compress_made_is_judged_on_pictures_read_as_then() -> None:
    spec = {"color": "gray", "shapes": [[8, 6, 1]], "mean": [1.0], "scale": [255.0]}
    made = object.__new__(Artifact)
    object.__setattr__(made, "report", {"input_spec": spec})

    assert pipeline._pictures_of([inspect(MODELS / "conv_int8.tflite"), made]) == Pictures(
        (8, 6), "gray", (1.0,), (255.0,)
    )
    assert pipeline._pictures_of([inspect(MODELS / "conv_int8.tflite")]) is None


def test_convert_leaves_the_names_of_tensors_where_it_is_told_to(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    dense_net().save(model)
    files = [
        edgepress.convert(model, format="float32", output=tmp_path / f"{repack}.tflite", repack=repack)
        for repack in (None, False)
    ]
    named = [b"hidden" in file.path.read_bytes() for file in files]
    assert named == [False, True]
