"""Small Keras models, each with something about it that conversion must get right; and inputs for them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def residual_cnn() -> keras.Model:
    """BatchNorm, a residual Add, a depthwise and a 1x1 convolution, a Dense head."""
    image = keras.Input((16, 16, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(8, 1)(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x), name="residual_cnn")


def many_in_many_out() -> keras.Model:
    """Names that sort neither as the inputs nor as the outputs stand; one input of integers."""
    zeta, alpha = keras.Input((4,), name="zeta"), keras.Input((3,), name="alpha")
    token = keras.Input((2,), name="middle", dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(5, 3)(token))
    x = layers.Dense(6, activation="relu")(layers.Concatenate()([zeta, alpha, embedded]))
    return keras.Model([zeta, alpha, token], [layers.Dense(2, name="z")(x), layers.Dense(5, name="a")(x)], name="many")


def dictionaries() -> keras.Model:
    """Takes and gives dictionaries."""
    zeta, alpha = keras.Input((4,), name="zeta"), keras.Input((3,), name="alpha")
    x = layers.Concatenate()([zeta, alpha])
    outputs = {"z": layers.Dense(2, name="z")(x), "a": layers.Dense(5, name="a")(x)}
    return keras.Model({"zeta": zeta, "alpha": alpha}, outputs, name="dictionaries")


def dense_only() -> keras.Model:
    """A Sequential; its first Dense is large enough to be quantized in the dynamic format."""
    return keras.Sequential(
        [keras.Input((64,)), layers.Dense(32, activation="relu"), layers.Dense(3)], name="dense_only"
    )


def half_zero() -> keras.Model:
    """Every other block of four inputs of each output of a Dense layer is zero."""
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64, name="blocks")], name="half_zero")
    kernel = model.get_layer("blocks").kernel
    kernel.assign(kernel * (np.arange(64) // 4 % 2)[:, None])
    return model


def conv1d() -> keras.Model:
    """A signal."""
    signal = keras.Input((32, 3))
    x = layers.GlobalAveragePooling1D()(layers.Conv1D(8, 5, activation="relu")(signal))
    return keras.Model(signal, layers.Dense(3)(x), name="conv1d")


def raw_bytes() -> keras.Model:
    """Takes a picture as bytes."""
    image = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Flatten()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, layers.Dense(3)(x), name="raw_bytes")


def layer_norm() -> keras.Model:
    """The converter has no int8 kernel for all of LayerNormalization."""
    features = keras.Input((8,))
    x = layers.LayerNormalization(name="normalized")(layers.Dense(8, name="hidden")(features))
    return keras.Model(features, layers.Dense(3)(x), name="layer_norm")


WIDEST = 8.0  # every range of with_ranges is from -WIDEST to WIDEST


class Ranged(layers.Layer):  # type: ignore[misc]
    """What training for quantization puts behind layers: rounds to 8 bits."""

    def call(self, x: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(x, -WIDEST, WIDEST)


class RangedDense(layers.Dense):  # type: ignore[misc]
    """Its kernel is rounded too."""

    def call(self, x: Any) -> Any:
        kernel = tf.quantization.fake_quant_with_min_max_args(self.kernel, -2.0, 2.0, narrow_range=True)
        return self.activation(tf.matmul(x, kernel) + self.bias)


def with_ranges() -> keras.Model:
    """All that int8 needs to know stands in the model."""
    features = keras.Input((8,))
    x = Ranged()(RangedDense(8, activation="relu")(Ranged()(features)))
    return keras.Model(features, Ranged()(RangedDense(3)(x)), name="with_ranges")


def with_ranges_but_for_one() -> keras.Model:
    """Within the layer "plain" nothing has a range."""
    features = keras.Input((8,))
    x = layers.Dense(8, "swish", name="plain")(Ranged()(features))
    return keras.Model(features, Ranged()(RangedDense(3)(Ranged()(x))), name="but_for_one")


def rolled_lstm() -> keras.Model:
    """TensorFlow 2.21's converter dies of it in int8."""
    series = keras.Input((8, 3))
    return keras.Model(series, layers.Dense(3)(layers.LSTM(4)(series)), name="rolled_lstm")


class Swish2(layers.Layer):  # type: ignore[misc]
    """A custom layer that the worker cannot import."""

    def call(self, x: Any) -> Any:
        return x * keras.ops.sigmoid(2 * x)


def custom_layer() -> keras.Model:
    features = keras.Input((6,))
    return keras.Model(features, layers.Dense(2)(Swish2()(layers.Dense(4)(features))), name="custom_layer")


class Determinant(layers.Layer):  # type: ignore[misc]
    """Something that TFLite has no operator for."""

    def call(self, x: Any) -> Any:
        return keras.ops.det(keras.ops.reshape(x, (1, 2, 2)))[:, None]


def not_convertible() -> keras.Model:
    matrix = keras.Input(batch_shape=(1, 4))
    return keras.Model(matrix, layers.Dense(2)(Determinant()(matrix)), name="not_convertible")


def inputs_for(model: keras.Model, count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Random inputs in model order; integers stay small enough for an Embedding."""
    random = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (count, *tensor.shape[1:])
        if "int" in tensor.dtype:
            top = 256 if tensor.dtype == "uint8" else 5
            arrays.append(random.integers(0, top, shape).astype(tensor.dtype))
        else:
            arrays.append(random.normal(size=shape).astype(tensor.dtype))
    return tuple(arrays)
