"""``quantize debug``: a model's layers and causes, its figures with the rows of its file, a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

from edgepress.cli.main import cli
from edgepress.conversion import inspect
from edgepress.diagnosing import QUANTIZATION_ERROR, debug_quantization, figures_of
from edgepress.errors import ModelError
from edgepress.table.store import ResultStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one loud channel, and data."""
    folder = tmp_path_factory.mktemp("debugged")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="writer", bias_initializer="ones")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, activation="relu", name="reader")(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="answer")(x))
    kernel, bias = model.get_layer("writer").get_weights()
    model.get_layer("writer").set_weights([kernel * [200, 1, 1, 1], bias * [200, 1, 1, 1]])
    kernel, bias = model.get_layer("reader").get_weights()
    model.get_layer("reader").set_weights([kernel / np.array([200, 1, 1, 1])[:, None], bias])
    model.save(folder / "net.keras")
    x, y = np.random.default_rng(0).random((60, 6, 6, 1), np.float32), np.arange(60) % 2
    np.savez(folder / "data.npz", x_train=x[:40], y_train=y[:40], x_val=x[40:], y_val=y[40:])
    return folder


def debugged(folder: Path, *options: str) -> Any:
    command = ["quantize", "debug", str(folder / "net.keras"), "--data", str(folder / "data.npz"), *options]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


def test_the_guilty_layer_comes_first_with_its_cause(folder: Path) -> None:
    document = json.loads(debugged(folder, "--json").stdout)
    assert document["layers"][0]["layer"] == "reader"
    assert document["causes"][0]["kind"] == "outlier channel"
    assert document["file"] is None


def test_people_read_layers_and_what_may_help(folder: Path) -> None:
    text = debugged(folder).stdout
    assert "outlier channel: channel 0 of writer, which reader reads" in text
    assert "What may help: equalization" in text


def test_a_picture_is_drawn(folder: Path) -> None:
    debugged(folder, "--picture", str(folder / "errors.png"))
    assert (folder / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_no_kind_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"errors\.nothing"):
        debugged(folder, "--picture", str(folder / "errors.nothing"))


def test_figures_of_the_layers_are_kept_for_the_file_of_the_model(folder: Path, tmp_path: Path) -> None:
    found = debug_quantization(folder / "net.keras", data=str(folder / "data.npz"))
    file = inspect(Path(__file__).parents[1] / "cases" / "models" / "dense_float32.tflite")
    with ResultStore.open(str(tmp_path / "table.db")) as store:
        store.record_figures(figures_of(found, file))
        (figures,) = store.figures([file.sha256])
    assert (figures.what, figures.device) == (QUANTIZATION_ERROR, None)
    assert [part.name for part in figures.parts] == [one.layer for one in found.diagnosis.layers]
    assert "channel 0 of writer" in next(part.why for part in figures.parts if part.name == "reader")
