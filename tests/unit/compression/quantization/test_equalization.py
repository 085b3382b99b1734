"""Equalization: the same function, and channels that share a tensor have ranges alike."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.compression.quantization.equalization import equalize
from edgepress.data import Split
from edgepress.training.evaluate import predict

SPREAD = 2.0 ** np.arange(-4, 4)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)


def pictures(count: int = 64) -> Split:
    return Split((np.random.default_rng(0).random((count, 8, 8, 2), np.float32),), ())


def ranges_behind(model: Any, name: str, data: Split) -> np.ndarray:
    part = keras.Model(model.inputs, model.get_layer(name).output)
    (values,) = predict(part, data.inputs)
    return np.abs(values).max(axis=tuple(range(values.ndim - 1)))


def spread_of(ranges: np.ndarray) -> float:
    return float(ranges.max() / ranges.min())


def spread(model: Any, name: str, factors: np.ndarray = SPREAD) -> Any:
    """Give the channels that a layer makes unlike ranges."""
    layer = model.get_layer(name)
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * factors, bias * factors])
    return model


def assert_same_function(model: Any, equalized: Any, data: Split) -> None:
    for before, after in zip(predict(model, data.inputs), predict(equalized, data.inputs), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


def chain(activation: str = "relu") -> Any:
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, activation=activation, name="writer", bias_initializer="ones")(inputs)
    x = layers.Conv2D(4, 3, name="reader", bias_initializer="ones")(layers.MaxPooling2D(2)(x))
    return spread(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))), "writer")


def residual() -> Any:
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="writer")(inputs)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="inside")(x)
    y = layers.Conv2D(8, 1, name="other")(y)
    x = layers.ReLU(name="sum")(layers.Add()([x, y]))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    return spread(spread(model, "writer"), "other")


def depthwise() -> Any:
    inputs = keras.Input((8, 8, 2))
    x = layers.ReLU()(layers.Conv2D(4, 1, name="writer", bias_initializer="ones")(inputs))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="depthwise")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 1)(x))))
    return spread(model, "writer", SPREAD[::2])


def beside() -> Any:
    inputs = keras.Input((8, 8, 2))
    loud = layers.Conv2D(8, 1, activation="relu", name="writer", bias_initializer="ones")(inputs)
    quiet = layers.Conv2D(4, 1, activation="relu", name="quiet", bias_initializer="ones")(inputs)
    x = layers.Concatenate(name="joined")([loud, quiet])
    model = keras.Model(inputs, layers.Conv2D(3, 1, name="reader")(x))
    return spread(model, "writer", np.full(8, 128.0))


def shared() -> Any:
    inputs = keras.Input((8, 8, 2))
    twice = layers.Conv2D(2, 1, activation="relu", name="writer", bias_initializer="ones")
    return spread(keras.Model(inputs, layers.Conv2D(3, 1)(twice(twice(inputs)))), "writer", SPREAD[:2])


@pytest.mark.parametrize("make", [chain, residual, depthwise, beside, shared])
def test_an_equalized_model_computes_the_same(make: Any) -> None:
    model, data = make(), pictures()
    assert_same_function(model, equalize(model, data).model, data)


@pytest.mark.parametrize("make", [chain, residual, depthwise])
def test_channels_of_unlike_ranges_become_more_alike(make: Any) -> None:
    model, data = make(), pictures()
    before = spread_of(ranges_behind(model, "writer", data))
    after = spread_of(ranges_behind(equalize(model, data).model, "writer", data))
    assert before > 16
    assert after < before / 3


def test_a_loud_branch_of_a_concatenation_comes_down_to_the_others() -> None:
    model, data = beside(), pictures()
    before, after = (ranges_behind(m, "joined", data) for m in (model, equalize(model, data).model))
    assert before[:8].max() / before[8:].max() > 64
    assert after[:8].max() / after[8:].max() < 16


def test_what_was_done_is_said_by_layer() -> None:
    by_layer = {change.layer: change.what for change in equalize(chain(), pictures()).changed}
    assert by_layer["writer"].startswith("channels divided by ")


@pytest.mark.parametrize("activation", ["relu6", "swish", "sigmoid"])
def test_channels_behind_an_activation_that_is_not_homogeneous_stay(activation: str) -> None:
    model, data = chain(activation), pictures()
    equalized = equalize(model, data)
    np.testing.assert_array_equal(
        equalized.model.get_layer("writer").get_weights()[0], model.get_layer("writer").get_weights()[0]
    )
    assert_same_function(model, equalized.model, data)


def test_a_dead_channel_gets_no_absurd_factor() -> None:
    model = spread(chain(), "writer", np.array([1, 1, 1, 1, 1, 1, 1, 0.0]))
    layer = model.get_layer("writer")
    layer.set_weights([layer.get_weights()[0], np.array([1, 1, 1, 1, 1, 1, 1, 0.0])])
    data = pictures()
    equalized = equalize(model, data).model
    assert_same_function(model, equalized, data)
    before, after = (np.abs(m.get_layer("reader").get_weights()[0]).max() for m in (model, equalized))
    assert after < 100 * before
