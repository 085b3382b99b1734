"""Small Keras models and data for the tests of compression and training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read
from edgepress.compression.steps import StepContext
from edgepress.data import Dataset
from edgepress.training.evaluate import predict
from edgepress.training.objective import Objective, objective_of
from edgepress.training.seeds import seeded
from edgepress_converters.options import ConversionOptions

layers = keras.layers


def blobs(count: int = 96, shape: tuple[int, ...] = (8, 8, 2), classes: int = 3, seed: int = 0) -> Dataset:
    """Classes that differ by a constant picture under noise: learnt in an epoch."""
    generator = np.random.default_rng(seed)
    pictures = generator.normal(size=(classes, *shape))

    def part(size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        labels = generator.integers(0, classes, size)
        return (pictures[labels] + 0.5 * generator.normal(size=(size, *shape))).astype(np.float32), labels

    return Dataset.from_arrays(*part(count), *part(32), *part(32))


def residual_cnn(classes: int = 3, width: int = 16) -> Any:
    """Every structure that pruning meets: plain chains, an Add, a depthwise and a 1x1 convolution, Flatten, Dense."""
    inputs = keras.Input((8, 8, 2), name="picture")
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    branch = layers.Conv2D(width, 3, padding="same", use_bias=False, name="wide")(x)
    branch = layers.BatchNormalization(name="wide_norm")(branch)
    branch = layers.Activation("relu", name="wide_relu")(branch)
    branch = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(branch)
    branch = layers.BatchNormalization(name="depthwise_norm")(branch)
    branch = layers.Conv2D(8, 1, name="project")(branch)
    x = layers.Add(name="add")([x, branch])
    x = layers.Conv2D(width, 3, activation="relu", padding="same", name="head")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(24, activation="relu", name="features")(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="classes")(x), name="residual")


def dense_net() -> Any:
    """The quickest thing to train: for tests of training itself."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(3, activation="softmax", name="classes"),
        ],
        name="dense",
    )


def made(build: Any, *arguments: Any, seed: int = 0, **settings: Any) -> Any:
    """A model with repeatable weights."""
    with seeded(seed):
        return build(*arguments, **settings)


def randomised(model: Any, seed: int = 0) -> Any:
    """The same model with biases and BatchNorm statistics that are not the trivial ones of a fresh layer."""
    generator = np.random.default_rng(seed)
    for layer in read(model).layers().values():
        weights = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in weights])
        elif weights and weights[-1].ndim == 1:
            layer.set_weights([*weights[:-1], generator.normal(size=weights[-1].shape)])
    return model


def compiled(model: Any, learning_rate: float = 3e-3) -> Any:
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def context_for(model: Any, dataset: Dataset, **changes: Any) -> StepContext:
    """What ``compress`` hands to a step, for a compiled model."""
    objective: Objective = objective_of(model, dataset)
    return StepContext(dataset.training, objective, model, ConversionOptions(), **changes)


def inputs_for(model: Any, count: int = 5, seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    generator = np.random.default_rng(seed)
    return tuple(generator.normal(size=(count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs)


def largest_difference(first: Any, second: Any, seed: int = 0) -> float:
    """Largest absolute difference between the outputs of two models on random inputs."""
    inputs = inputs_for(first, seed=seed)
    pairs = zip(predict(first, inputs), predict(second, inputs), strict=True)
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


@st.composite
def models(draw: st.DrawFn) -> Any:
    """Random small models on 4x4x2 pictures: branches, merges, shared layers, nested models, operations, two inputs,
    slices, reshapes, attention."""
    seed = draw(st.integers(0, 2**16))
    with seeded(seed):
        return randomised(_random_model(draw), seed)


def _random_model(draw: st.DrawFn) -> Any:
    inputs = [keras.Input((4, 4, 2), name=f"in{index}") for index in range(draw(st.integers(1, 2)))]
    tensors = list(inputs)
    shared = layers.Conv2D(2, 3, padding="same", name="shared")

    def conv(x: Any) -> Any:
        return layers.Conv2D(draw(st.sampled_from([4, 6])), 3, padding="same", activation="relu")(x)

    def norm(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    def depthwise(x: Any) -> Any:
        return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=draw(st.integers(1, 2)))(x)

    def shared_twice(x: Any) -> Any:
        x = layers.Conv2D(2, 1)(x)
        return shared(shared(x))

    def nested(x: Any) -> Any:
        inner_input = keras.Input(x.shape[1:])
        inner = layers.Conv2D(4, 1, name="inner_conv")(inner_input)
        inner = layers.BatchNormalization(name="inner_norm")(inner)
        model = keras.Model(inner_input, inner)
        return layers.Add()([model(x), model(x)])

    def gated(x: Any) -> Any:
        gate = layers.Dense(x.shape[-1], activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
        return layers.Multiply()([x, layers.Reshape((1, 1, x.shape[-1]))(gate)])

    def grouped(x: Any) -> Any:
        x = layers.Conv2D(8, 1)(x)
        return layers.Conv2D(6, 3, padding="same", groups=2)(x)

    def residual(x: Any) -> Any:
        branch = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(x.shape[-1], 1)(x))
        return layers.Add()([x, layers.LayerNormalization()(branch)])

    def operation(x: Any) -> Any:
        return keras.ops.relu(x * 2.0 + 1.0)

    def sliced(x: Any) -> Any:
        start = draw(st.integers(0, x.shape[-1] - 1))
        return layers.Concatenate()([x[..., start:], layers.Conv2D(2, 1)(x[..., : start + 1])])

    def split(x: Any) -> Any:
        parts = keras.ops.split(layers.Conv2D(6, 1)(x), draw(st.sampled_from([2, 3, [1, 5]])), axis=-1)
        return layers.Concatenate()([parts[-1], *parts[:-1]])

    def shuffled(x: Any) -> Any:
        x = layers.Reshape((4, 4, 2, 3))(layers.Conv2D(6, 1)(x))
        return keras.ops.reshape(layers.Permute((1, 2, 4, 3))(x), (-1, 4, 4, 6))

    def attention(x: Any) -> Any:
        rows = layers.Reshape((16, x.shape[-1]))(x)
        rows = layers.Add()([rows, layers.MultiHeadAttention(3, 2)(layers.RMSNormalization()(rows), rows)])
        return layers.Reshape((4, 4, x.shape[-1]))(rows)

    def mixed(x: Any) -> Any:
        rows = layers.Permute((2, 1))(layers.Reshape((16, x.shape[-1]))(x))
        rows = layers.Dense(16)(layers.Dense(8, activation="tanh")(rows))
        return layers.Reshape((4, 4, x.shape[-1]))(layers.Permute((2, 1))(rows))

    def normalised(x: Any) -> Any:
        return layers.GroupNormalization(draw(st.sampled_from([1, 2, -1])))(layers.Conv2D(6, 1)(x))

    def merge(x: Any) -> Any:
        other = draw(st.sampled_from(tensors))
        if other.shape == x.shape and draw(st.booleans()):
            return layers.Add()([x, other])
        return layers.Concatenate()([x, other])

    steps = draw(
        st.lists(
            st.sampled_from(
                [
                    *(
                        conv,
                        conv,
                        norm,
                        depthwise,
                        shared_twice,
                        nested,
                        gated,
                        grouped,
                        residual,
                        operation,
                        merge,
                        merge,
                    ),
                    *(sliced, split, shuffled, attention, mixed, normalised),
                ]
            ),
            min_size=1,
            max_size=6,
        )
    )
    x = tensors[0]
    for step in steps:
        x = step(x)
        tensors.append(x)
    if len(inputs) == 2:
        x = layers.Concatenate()([x, inputs[1]])
    head = layers.GlobalAveragePooling2D() if draw(st.booleans()) else layers.Flatten()
    outputs = [layers.Dense(3)(head(x))]
    if draw(st.booleans()):
        outputs.append(layers.Conv2D(2, 1)(x))
    return keras.Model(inputs, outputs)
