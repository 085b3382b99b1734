"""What is reused, and what is made anew."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepress import artifacts
from edgepress.artifacts import Artifact, Source, make_artifact
from edgepress.compression.recipe import load_recipe
from edgepress.compression.steps import Judge
from edgepress.conversion import inspect
from edgepress.data import Dataset
from edgepress.errors import ConversionError, ModelError
from edgepress.progress import Silent
from edgepress.training.settings import Training
from edgepress_agent.protocol.tensors import encode_arrays
from edgepress_converters.options import ConversionOptions

CASE = Path(__file__).parents[1] / "cases" / "models" / "dense_float32.tflite"
X, Y = np.zeros((6, 4), np.float32), np.arange(6) % 2


@pytest.fixture
def made_in(tmp_path, monkeypatch):
    """Where an artifact and its checkpoints would be made."""
    monkeypatch.setattr("edgepress.models.inspect_file", lambda path: {})
    monkeypatch.setattr(artifacts, "_make", lambda *arguments: arguments[4:6])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.keras").write_bytes(b"a model")
    (tmp_path / "my_layers.py").write_text("one = 1")

    def places(name="m.keras", imports=(), dataset=None, recipe="int8", metric=None, seed=0, judge=None, **more):
        source = Source(tmp_path / name, imports)
        dataset = dataset or Dataset.from_arrays(X, Y, X, Y)
        settings = {"cache": tmp_path, "metric": metric, "seed": seed, "judge": judge, "progress": Silent(), **more}
        return make_artifact(source, load_recipe(recipe), dataset, None, **settings)

    return places


def test_the_same_things_are_found_in_the_same_place(made_in):
    assert made_in() == made_in()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed.keras"},
        {"name": "other.keras"},
        {"imports": ("my_layers",)},
        {"dataset": Dataset.from_arrays(X, Y, X, 1 - Y)},
        {"dataset": Dataset.from_arrays(X, Y, X, Y, labels=("a", "b"))},
        {"dataset": Dataset.from_arrays(X, Y, X, Y, scale=(255.0,))},
        {"recipe": "float32"},
        {"metric": "mae"},
        {"seed": 1},
        {"training": Training(batch_size=7)},
    ],
    ids=lambda change: "-".join(change),
)
def test_anything_that_an_artifact_depends_on_makes_another_one(change, made_in, tmp_path):
    (tmp_path / "renamed.keras").write_bytes(b"a model")
    (tmp_path / "other.keras").write_bytes(b"another model")

    assert made_in(**change)[0] != made_in()[0]


def test_the_device_that_was_asked_counts_where_the_recipe_asks_one(made_in, tmp_path):
    step = '[[step]]\nkind = "prune"\nsparsity = 0.5\nstructure = "weights"\nblock = "1x4"\n'
    (tmp_path / "blocks.toml").write_text(step)
    judges = [None, Judge("pi4", lambda files: ()), Judge("pi5", lambda files: ())]

    assert len({made_in(judge=judge)[0] for judge in judges}) == 1
    assert len({made_in(recipe="blocks.toml", judge=judge)[0] for judge in judges}) == 3


def test_changed_code_of_custom_layers_makes_another_artifact_and_takes_over_no_checkpoint(made_in, tmp_path):
    before = made_in(imports=("my_layers",))
    (tmp_path / "my_layers.py").write_text("one = 2")

    after = made_in(imports=("my_layers",))

    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("changed", ["edgepress", "edgepress_converters"])
def test_changed_code_of_our_own_makes_another_artifact_though_the_version_is_the_same(made_in, monkeypatch, changed):
    before = made_in()
    source = artifacts.source_sha256
    monkeypatch.setattr(artifacts, "source_sha256", lambda name: "new" if name == changed else source(name))
    assert before[0] != made_in()[0]


@pytest.mark.parametrize("changed", ["tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer"])
def test_another_version_of_what_makes_and_runs_files_makes_another_artifact(made_in, monkeypatch, changed):
    before = made_in()
    version = artifacts.metadata.version
    monkeypatch.setattr(artifacts.metadata, "version", lambda name: "99" if name == changed else version(name))
    assert before[0] != made_in()[0]


@pytest.fixture
def artifact(tmp_path):
    """A whole artifact on disk."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    model = inspect(shutil.copy(CASE, folder / "model.tflite"))
    (folder / "model.keras").touch()
    count = 2 * len(model.outputs) + len(model.inputs)
    (folder / "goldens.npys").write_bytes(encode_arrays([np.zeros((2, 1), np.float32)] * count))
    report = {"schema": 3, "recipe": {"name": "r"}, "recipe_id": "0", "tflite": {"sha256": model.sha256}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_a_whole_artifact_is_read_and_copied(artifact, tmp_path):
    found = Artifact.load(artifact)

    assert found.reused
    copy = found.copy_to(tmp_path / "deep" / "copy")
    assert Artifact.load(copy.directory).model == copy.model == replace(found.model, path=copy.model.path)


@pytest.mark.parametrize("name", ["model.tflite", "goldens.npys", "report.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_an_artifact_that_is_not_whole_is_none(name, damage, artifact):
    path = artifact / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.write_bytes(b"{}" if name == "report.json" else b"something else")

    assert Artifact.load(artifact) is None


def test_a_file_put_in_the_place_of_an_artifacts_own_is_refused_and_not_taken_for_one_without_report(artifact):
    path = artifact / "model.tflite"
    assert Artifact.of_file(path).model.path == path
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match=r"is not the file that report\.json beside it is about"):
        Artifact.of_file(path)
    elsewhere = path.rename(artifact / "other.tflite")
    assert Artifact.of_file(elsewhere) is None


def test_a_model_that_cannot_be_converted_is_refused_before_it_is_trained_and_tried_once(tmp_path, monkeypatch):
    monkeypatch.setattr("edgepress.models.inspect_file", lambda path: {})
    (tmp_path / "m.keras").write_bytes(b"a model")
    source = Source(tmp_path / "m.keras")
    source._model = object()
    tried = []

    def convert(model, output, options, calibration, pool):
        tried.append((options.format, len(calibration[0])))
        if options.format == "int8":
            raise ConversionError("no")

    monkeypatch.setattr(artifacts, "convert_model", convert)
    for options in (ConversionOptions(), ConversionOptions()):
        source.check_convertible(options, [X], None, Silent())
    with pytest.raises(ConversionError, match="no"):
        source.check_convertible(ConversionOptions(format="int8"), [X], None, Silent())

    assert tried == [("float32", len(X)), ("int8", len(X))]
