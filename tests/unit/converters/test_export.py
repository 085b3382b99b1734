from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgepress_converters.errors import UnsupportedModelError
from edgepress_converters.export import export_saved_model
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from support import models_small


def test_every_input_has_a_batch_of_one(convert: Any) -> None:
    for spec in convert(models_small.many_in_many_out).inputs:
        assert spec.shape[0] == 1


def test_a_batch_that_the_model_left_open_leaves_no_shape_arithmetic_behind(convert: Any) -> None:
    def reshaping() -> keras.Model:
        image = keras.Input((4, 4, 2))
        return keras.Model(image, keras.layers.Reshape((8, 4))(keras.layers.Reshape((-1, 2))(image)))

    assert {use.name for use in convert(reshaping).operators} == {"RESHAPE"}


def test_weights_become_constants_and_layers_fused_operators(convert: Any) -> None:
    names = {use.name for use in convert(models_small.residual_cnn).operators}
    assert names == {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}


@pytest.mark.parametrize("make", [models_small.many_in_many_out, models_small.dictionaries])
def test_inputs_and_outputs_are_found_in_the_models_order(
    make: Any, convert: Any, exported: Any, worker_pool: WorkerPool
) -> None:
    file = convert(make)
    keras_model, _ = exported(make)
    assert [spec.shape[1:] for spec in file.inputs] == [tuple(t.shape[1:]) for t in keras_model.inputs]
    assert [spec.shape[1:] for spec in file.outputs] == [tuple(t.shape[1:]) for t in keras_model.outputs]

    inputs = models_small.inputs_for(keras_model, 4)
    structured = keras.tree.pack_sequence_as(keras_model.input, list(inputs))
    expected = keras.tree.flatten(keras_model.predict(structured, verbose=0))
    for got, wanted in zip(worker_pool.run(file, inputs), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_the_order_holds_beyond_ten_outputs_whose_names_sort_as_text(convert: Any) -> None:
    def twelve_outputs() -> keras.Model:
        features = keras.Input((3,))
        return keras.Model(features, [keras.layers.Dense(width)(features) for width in range(1, 13)])

    assert [spec.shape[1] for spec in convert(twelve_outputs).outputs] == list(range(1, 13))


def test_integer_inputs_keep_their_dtype(convert: Any) -> None:
    assert [spec.dtype for spec in convert(models_small.many_in_many_out).inputs] == ["float32", "float32", "int32"]
    assert [spec.dtype for spec in convert(models_small.raw_bytes).inputs] == ["uint8"]


def test_a_custom_layer_needs_no_import_in_the_worker(convert: Any, exported: Any, worker_pool: WorkerPool) -> None:
    file = convert(models_small.custom_layer)
    keras_model, _ = exported(models_small.custom_layer)
    inputs = models_small.inputs_for(keras_model, 3)
    (got,) = worker_pool.run(file, inputs)
    np.testing.assert_allclose(got, keras_model.predict(inputs[0], verbose=0), atol=1e-5)


def test_exporting_and_converting_print_nothing(
    worker_pool: WorkerPool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keras_model = models_small.dense_only()
    capfd.readouterr()
    export_saved_model(keras_model, tmp_path / "saved_model")
    calibration = models_small.inputs_for(keras_model, 4)
    worker_pool.convert(tmp_path / "saved_model", tmp_path / "model.tflite", ConversionOptions("int8"), calibration)
    assert capfd.readouterr() == ("", "")


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    keras_model = models_small.residual_cnn()
    before = [weight.copy() for weight in keras_model.get_weights()]
    trainable = [layer.trainable for layer in keras_model.layers]
    export_saved_model(keras_model, tmp_path / "saved_model")
    assert all(np.array_equal(a, b) for a, b in zip(before, keras_model.get_weights(), strict=True))
    assert trainable == [layer.trainable for layer in keras_model.layers]


def test_a_subclassed_model_is_refused(tmp_path: Path) -> None:
    class Subclassed(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(UnsupportedModelError, match=r"functional or Sequential model is needed.*got Subclassed"):
        export_saved_model(Subclassed(), tmp_path / "saved_model")


def test_an_open_dimension_besides_the_batch_is_refused(tmp_path: Path) -> None:
    signal = keras.Input((None, 3), name="signal")
    model = keras.Model(signal, keras.layers.Conv1D(2, 3)(signal))
    with pytest.raises(UnsupportedModelError, match=r"'signal' has the shape \(None, None, 3\)"):
        export_saved_model(model, tmp_path / "saved_model")
