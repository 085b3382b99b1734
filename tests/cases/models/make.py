"""How the models beside this file were made: `python tests/cases/models/make.py`, TensorFlow 2.21.

They are checked in so that the agent's tests need no TensorFlow. Weights are seeded; the flatbuffers of another
TensorFlow may differ in bytes, and then the tests need no change.

=========================== =======================================================================================
file                        what it is
=========================== =======================================================================================
``dense_float32.tflite``    x (1, 8) float32 -> softmax of a Dense layer (1, 4) float32
``conv_int8.tflite``        x (1, 6, 6, 1) int8 -> Conv2D, Dense (1, 3) int8: full int8
``two_in_two_out.tflite``   "a" (1, 3), "b" (1, 5) float32 -> "sum" (1, 2), "difference" (1, 4) float32
``smoke.tflite``            x (1, 2) float32 -> x + x: what edgepress_agent/smoke.py carries in its text
``slow.tflite``             x (1, 16) float32 -> a WHILE of 2,000 small matrix products: about 1 ms
``endless.tflite``          the same, 2,000,000,000 times: a model that never comes to an end
``segfault_load.tflite``    ``smoke`` with two bytes changed: ai-edge-litert 1.4.0 and 2.3.0 die of it in Interpreter()
``segfault_invoke.tflite``  ``two_in_two_out`` with one byte changed: both die of it in invoke()
=========================== =======================================================================================

The bytes to change were found by trying random changes in child processes.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent


class Dense(tf.Module):
    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self.kernel = tf.constant(random.normal(size=(8, 4)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.matmul(x, self.kernel))


class Conv(tf.Module):
    def __init__(self) -> None:
        random = np.random.default_rng(2)
        self.kernel = tf.constant(random.normal(size=(3, 3, 1, 2)), tf.float32)
        self.dense = tf.constant(random.normal(size=(32, 3)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 6, 6, 1), tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        features = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "VALID"))
        return tf.matmul(tf.reshape(features, (1, 32)), self.dense)


class TwoInTwoOut(tf.Module):
    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.a = tf.constant(random.normal(size=(3, 4)), tf.float32)
        self.b = tf.constant(random.normal(size=(5, 4)), tf.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((1, 3), tf.float32, name="a"), tf.TensorSpec((1, 5), tf.float32, name="b")]
    )
    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        left, right = tf.matmul(a, self.a), tf.matmul(b, self.b)
        return {"sum": (left + right)[:, :2], "difference": left - right}


class Smoke(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x + x


class Loop(tf.Module):
    def __init__(self, rounds: int) -> None:
        random = np.random.default_rng(4)
        self.kernel = tf.constant(np.round(random.normal(size=(16, 16)), 1), tf.float32)
        self.rounds = rounds

    @tf.function(input_signature=[tf.TensorSpec((1, 16), tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        def step(i: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, tf.nn.tanh(tf.matmul(y, self.kernel))

        return tf.while_loop(lambda i, _: i < self.rounds, step, (tf.constant(0), x))[1]


def convert(module: tf.Module, name: str, samples: list[np.ndarray] | None = None) -> None:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    (HERE / name).write_bytes(converter.convert())


def patch(source: str, changes: dict[int, int], name: str) -> None:
    content = bytearray((HERE / source).read_bytes())
    for offset, value in changes.items():
        content[offset] = value
    (HERE / name).write_bytes(content)


if __name__ == "__main__":
    samples = list(np.random.default_rng(0).normal(size=(16, 1, 6, 6, 1)).astype(np.float32))
    convert(Dense(), "dense_float32.tflite")
    convert(Conv(), "conv_int8.tflite", samples)
    convert(TwoInTwoOut(), "two_in_two_out.tflite")
    convert(Smoke(), "smoke.tflite")
    convert(Loop(2_000), "slow.tflite")
    convert(Loop(2_000_000_000), "endless.tflite")
    patch("smoke.tflite", {16: 0, 338: 1}, "segfault_load.tflite")
    patch("two_in_two_out.tflite", {352: 128}, "segfault_invoke.tflite")
