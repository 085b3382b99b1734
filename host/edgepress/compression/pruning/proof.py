"""The proof of a structural change: two models, made in different ways, that must say the same.

One is the smaller model. The other is the whole model with zeros where something is to be removed, whose graph nobody
has touched. They are compared on logits, since a softmax over many classes hides differences, and with BatchNorm
statistics that are not the trivial ones of a fresh layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Alive, Binding
from edgepress.compression.graph.reader import Graph, Shape, read
from edgepress.compression.graph.rebuild import in_double, reconfigured
from edgepress.data import Split
from edgepress.errors import CompressionError

TOLERANCE = 1e-4
"""Largest difference between two logits, relative to the largest logit, that counts as none."""

_UNKNOWN_SIZE = 64  # of an axis that the model leaves open
_SAMPLES = 2


def prove(
    smaller: Any,
    zeroed: Any,
    seed: int = 0,
    data: Split | None = None,
    in_float64: Callable[[], tuple[Any, Any]] | None = None,
) -> float:
    """Return the largest difference between two models' logits on random inputs, relative to the largest logit.

    Where it is too large, both are computed once more in float64: deep models make more of float32's rounding.

    Args:
        data: takes the place of random inputs where these have no answer, such as the logarithm of a negative number.
        in_float64: makes both models anew in that type; None: their float32 weights are exact.

    Raises:
        CompressionError: it is above :data:`TOLERANCE`, or no number.
    """
    inputs = random_inputs(zeroed, seed)
    expected = logits(zeroed, inputs)
    if data is not None and not all(np.isfinite(output).all() for output in expected):
        inputs = list(data.sample(_SAMPLES, seed).inputs)
        expected = logits(zeroed, inputs)
    difference = _largest_difference(logits(smaller, inputs), expected)
    if math.isfinite(difference) and difference > TOLERANCE:
        import tensorflow as tf

        with suppress(CompressionError, tf.errors.InvalidArgumentError):  # of a layer that cannot
            exact = in_float64() if in_float64 is not None else (in_double(smaller), in_double(zeroed))
            one = [array[:1] for array in inputs]  # which takes as much memory as two in float32
            difference = _largest_difference(*(logits(model, one) for model in exact))
    if not difference <= TOLERANCE:
        raise CompressionError(
            f"model {zeroed.name!r} without the removed parts differs by {difference:.3g} of the largest logit from "
            f"the model with these parts zeroed; at most {TOLERANCE:g} is wanted. This is a mistake in a rule of "
            "edgepress or of your own layers: keep = [...] leaves layers alone"
        )
    return difference


def _largest_difference(given: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> float:
    """The largest difference between two models' logits, relative to the largest logit of the same output."""
    difference = 0.0
    for ours, theirs in zip(given, wanted, strict=True):
        if ours.shape != theirs.shape:
            raise CompressionError(f"the smaller model's output has the shape {ours.shape}, not {theirs.shape}")
        largest = float(np.max(np.abs(theirs), initial=float(np.finfo(np.float32).tiny)))
        relative = float(np.max(np.abs(ours - theirs), initial=0.0)) / largest
        difference = max(difference, relative) if math.isfinite(relative) else math.inf
    return difference


def random_inputs(model: Any, seed: int = 0) -> list[NDArray[Any]]:
    """Return two random samples for each input of a model: normal numbers, or zeros and ones for integer inputs."""
    generator = np.random.default_rng(seed)
    inputs: list[NDArray[Any]] = []
    for tensor in model.inputs:
        shape = (_SAMPLES, *(size or _UNKNOWN_SIZE for size in tensor.shape[1:]))
        if np.issubdtype(np.dtype(tensor.dtype), np.floating):
            inputs.append(generator.normal(size=shape).astype(tensor.dtype))
        else:
            inputs.append(generator.integers(0, 2, shape).astype(tensor.dtype))
    return inputs


def logits(model: Any, inputs: list[NDArray[Any]]) -> list[NDArray[np.floating[Any]]]:
    """Return the outputs of a model without a softmax or sigmoid at its end, in model order; float32, or float64."""
    graph = read(model)
    view = keras.Model(list(model.inputs), list(model.outputs))
    last = {node for ref in graph.outputs for node in graph.makers(ref)}
    with _unsquashed({node.operation for node in last if last.issuperset(graph.calls(node.name))}):
        outputs = view([keras.ops.convert_to_tensor(x) for x in inputs], training=False)
    arrays = [np.asarray(output) for output in keras.tree.flatten(outputs)]
    return [array if array.dtype == np.float64 else array.astype(np.float32) for array in arrays]


def with_other_statistics(
    graph: Graph, weights: Mapping[str, list[NDArray[Any]]], seed: int
) -> dict[str, list[NDArray[Any]]]:
    """Return weights in which nothing is as trivial as in a fresh layer, where it would hide mistakes.

    Weights of BatchNormalization layers are moved at random by about their own size: no mean of 0 and variance of 1 is
    left, and a trained layer's scale is, so that deep models stay in range. Weights that have one value throughout
    (biases of 0, scales of 1 or 1e-6) get different ones.
    """
    generator = np.random.default_rng(seed)
    moved = {}
    for name, layer in graph.layers().items():
        if type(layer) is keras.layers.BatchNormalization and not getattr(layer, "renorm", False):
            moved[name] = _moved_statistics(layer, weights[name], generator)
        else:
            moved[name] = [
                _moved(value, generator) if variable.trainable and _is_trivial(value) else value
                for variable, value in zip(layer.weights, weights[name], strict=True)
            ]
    return moved


def _moved_statistics(layer: Any, weights: list[NDArray[Any]], generator: np.random.Generator) -> list[NDArray[Any]]:
    *scale_and_shift, mean, variance = weights
    deviation = np.sqrt(variance + layer.epsilon)
    return [
        *(_moved(value, generator) for value in scale_and_shift),
        mean + 0.2 * deviation * generator.normal(size=mean.shape),
        variance * generator.uniform(0.7, 1.4, variance.shape),
    ]


def _moved(value: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    return value * generator.uniform(0.7, 1.4, value.shape) + 0.2 * generator.normal(size=value.shape)


def _is_trivial(value: NDArray[Any]) -> bool:
    return value.size > 1 and bool((value == value.flat[0]).all())


class OverTheRest(keras.layers.Layer):  # type: ignore[misc]
    """A layer that takes statistics over channels, over some of them only, like that of a smaller model.

    It has the whole layer's weights; channels that are not among the rest are 0 behind it.
    """

    def __init__(self, layer: Any, binding: Binding, alive: Alive, name: str) -> None:
        super().__init__(name=name)
        self.supports_masking = layer.supports_masking
        self._whole = reconfigured(layer)
        self._smaller = partial(reconfigured, layer)
        rest = alive[binding.outputs[0]]
        self._rest = np.flatnonzero(rest)
        self._places = np.where(rest, np.cumsum(rest) - 1, len(self._rest))  # behind the last: a zero
        self._axes = [
            [(axis, np.flatnonzero(alive[labels])) for axis, labels in enumerate(axes) if labels is not None]
            for axes in binding.weights
        ]

    def build(self, input_shape: Shape) -> None:
        self._whole.build(input_shape)
        smaller = self._smaller()
        smaller.build((*input_shape[:-1], len(self._rest)))

        def over_the_rest(inputs: Any) -> Any:
            weights = []
            for weight, axes in zip(self._whole.weights, self._axes, strict=True):
                for axis, kept in axes:
                    weight = keras.ops.take(weight, kept, axis)
                weights.append(weight)
            with keras.StatelessScope(state_mapping=list(zip(smaller.weights, weights, strict=True))):
                return smaller(keras.ops.take(inputs, self._rest, -1))

        self._over_the_rest = over_the_rest  # and not the smaller layer, whose weights are not this one's

    def call(self, inputs: Any) -> Any:
        outputs = self._over_the_rest(inputs)
        with_zero = keras.ops.concatenate([outputs, keras.ops.zeros_like(outputs[..., :1])], -1)
        return keras.ops.take(with_zero, self._places, -1)


@contextmanager
def _unsquashed(operations: set[Any]) -> Iterator[None]:
    """Take away the activations of operations that squash, for as long as the block runs."""
    activations = {
        operation: operation.activation
        for operation in operations
        if type(operation) is keras.layers.Activation
        or getattr(operation, "activation", None) in (keras.activations.softmax, keras.activations.sigmoid)
    }
    bare = [operation for operation in operations if type(operation).__name__ in ("Softmax", "Sigmoid")]
    try:
        for operation in activations:
            operation.activation = keras.activations.linear
        for operation in bare:
            operation.call = lambda inputs, **_: inputs
        yield
    finally:
        for operation, activation in activations.items():
            operation.activation = activation
        for operation in bare:
            del operation.call
