"""BatchNormalization folded into the layer before it: the same numbers from one layer less, as int8 kernels see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.bypass import bypass
from edgepress.compression.graph.reader import Graph, Node, TensorRef, read
from edgepress.compression.graph.rebuild import NewLayer, rebuild, reconfigured
from edgepress.compression.steps import Skip

_layers = keras.layers
_WITH_BIAS = (
    _layers.Conv1D,
    _layers.Conv2D,
    _layers.Conv3D,
    _layers.Conv1DTranspose,
    _layers.Conv2DTranspose,
    _layers.Conv3DTranspose,
    _layers.DepthwiseConv1D,
    _layers.DepthwiseConv2D,
    _layers.SeparableConv1D,
    _layers.SeparableConv2D,
    _layers.Dense,
)
_TRANSPOSED = (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)
_DEPTHWISE = (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)

Array = NDArray[Any]


@dataclass(frozen=True)
class Folded:
    """Attributes:
    model: one that computes the same.
    folded: BatchNormalization layer -> the layer that took it in.
    left: the BatchNormalization layers that are still there, and why.
    """

    model: Any
    folded: dict[str, str]
    left: tuple[Skip, ...]


def fold_batchnorm(model: Any) -> Folded:
    """Return the model with each BatchNormalization multiplied into the weights of the layer before it.

    Exact but for float32's rounding (computed in float64). One stays where the layer before has an activation, is
    shared, is read by others, or is none that multiplies each channel by weights.

    Raises:
        ModelError: it is no functional or Sequential model.
    """
    graph = read(model)
    shortcuts: dict[TensorRef, TensorRef] = {}
    replacements: dict[str, list[NewLayer]] = {}
    folded: dict[str, str] = {}
    left: list[Skip] = []
    for node in graph.nodes:
        if not isinstance(node.operation, _layers.BatchNormalization):
            continue
        why = _why_not(graph, node)
        if why is not None:
            left.append(Skip(node.name, why))
            continue
        source = graph.nodes[node.inputs[0].node]
        replacements[source.name] = [_with(source.operation, node.operation)]
        shortcuts[TensorRef(node.index, 0)] = node.inputs[0]
        folded[node.name] = source.name
    return Folded(rebuild(bypass(graph, shortcuts), replacements), folded, tuple(left))


def scale_and_offset(norm: Any) -> tuple[Array, Array]:
    """Return by what a BatchNormalization multiplies each channel and what it then adds, in inference, as float64."""
    scale = 1 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    offset = -np.asarray(norm.moving_mean, np.float64) * scale
    if norm.center:
        offset = offset + np.asarray(norm.beta, np.float64)
    return scale, offset


def _why_not(graph: Graph, node: Node) -> str | None:
    source = graph.nodes[node.inputs[0].node]
    layer = source.operation
    if node.operation.axis not in (-1, len(node.output_shapes[0]) - 1):
        return "it normalises another axis than the last"
    if type(layer) not in _WITH_BIAS:
        return f"{type(layer).__name__} before it has no weights to fold it into"
    if layer.activation is not keras.activations.linear and layer.activation is not None:
        return f"{source.name} before it has an activation"
    if len(graph.calls(source.name)) > 1:
        return f"{source.name} before it is shared"
    if len(graph.consumers(source)) > 1 or graph.is_output(source):
        return f"others read {source.name} before it"
    return None


def _with(layer: Any, norm: Any) -> NewLayer:
    """The layer with what follows it in its weights."""
    scale, offset = scale_and_offset(norm)
    weights = [np.asarray(weight, np.float64) for weight in layer.get_weights()]
    bias = weights.pop() if layer.use_bias else np.zeros_like(scale)
    last = weights.pop()
    if isinstance(layer, _DEPTHWISE):
        last = last * scale.reshape(last.shape[-2:])
    elif isinstance(layer, _TRANSPOSED):
        last = last * scale[:, None]
    else:
        last = last * scale
    weights += [last, bias * scale + offset]
    return NewLayer(reconfigured(layer, use_bias=True), [weight.astype(np.float32) for weight in weights])
