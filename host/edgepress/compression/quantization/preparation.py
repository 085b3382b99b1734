"""Whether data are prepared as a model's training data were, as far as the model itself remembers them.

Ranges taken from data of another scale are the commonest way to ruin an int8 model (tensorflow#44289). A trained
BatchNormalization knows mean and variance of what it was given, a Normalization those of its input, and a Rescaling by
1/255 was meant for bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, read
from edgepress.compression.graph.tracing import trace

Array = NDArray[Any]

SAMPLES = 64
_FAR = 2.0  # standard deviations between the means: other pictures of the same kind are within one
_OTHER_SPREAD = 3.0
_FOR_BYTES = 1 / 32  # a Rescaling by less than that is for numbers up to 255, and not up to 1


def unlike_training(model: Any, inputs: Sequence[Array]) -> str | None:
    """Return a sentence on inputs that are of another scale than those that the model was trained with, None where they
    are alike, and where the model does not tell.

    Args:
        inputs: training or calibration data, one ``(n, ...)`` array per model input; 64 samples of them are looked at.
    """
    graph = read(model)
    first = next((node for node in graph.nodes if _remembers(node)), None)
    if first is None:
        return None
    chosen = np.linspace(0, len(inputs[0]) - 1, min(SAMPLES, len(inputs[0]))).round().astype(int)
    (flowing,) = _inputs_of(graph, first, [x[chosen] for x in inputs])
    layer = first.operation
    if isinstance(layer, keras.layers.Rescaling):
        return _rescaled(first.name, layer, flowing)
    if isinstance(layer, keras.layers.Normalization):
        mean, variance = np.asarray(layer.mean).ravel(), np.asarray(layer.variance).ravel()
    else:
        mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    values = flowing.reshape(-1, flowing.shape[-1]).astype(np.float64)
    expected = np.sqrt(variance + keras.backend.epsilon())
    shift = float(np.median(np.abs(values.mean(0) - mean) / expected))
    spread = float(np.median(np.sqrt(values.var(0) + keras.backend.epsilon()) / expected))
    if shift <= _FAR and 1 / _OTHER_SPREAD <= spread <= _OTHER_SPREAD:
        return None
    return _sentence(
        f"at {first.name} they lie {shift:.1f} standard deviations from what the model was trained with, and spread "
        f"{spread:.2g} times as wide"
    )


def _remembers(node: Node) -> bool:
    layer = node.operation
    if isinstance(layer, keras.layers.Rescaling):
        return True
    if isinstance(layer, keras.layers.Normalization):
        return layer.axis in ((-1,), (len(node.output_shapes[0]) - 1,)) or layer.mean.shape == ()
    if not isinstance(layer, keras.layers.BatchNormalization) or layer.axis not in (-1, len(node.output_shapes[0]) - 1):
        return False
    return bool(np.any(np.asarray(layer.moving_mean)) or np.any(np.asarray(layer.moving_variance) != 1))


def _inputs_of(graph: Graph, wanted: Node, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """What flows into a node."""
    seen: list[tuple[Array, ...]] = []
    until = dataclasses.replace(graph, nodes=graph.nodes[: wanted.index + 1])
    trace(until, inputs, lambda node, arrays: seen.append(arrays) if node is wanted else None)
    return seen[0]


def _rescaled(name: str, layer: Any, flowing: Array) -> str | None:
    scale = float(np.max(np.abs(layer.scale)))
    largest = float(np.abs(flowing).max())
    if scale < _FOR_BYTES and largest <= 1:
        return _sentence(f"{name} multiplies by {scale:.4g}, as for bytes, and they are at most {largest:.2g}")
    return None


def _sentence(what: str) -> str:
    return f"the training data are not what this model was trained with: {what}. Prepare them as its inputs were"
