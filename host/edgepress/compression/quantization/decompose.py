"""A model in the operations that int8 kernels have: what one Keras layer does and TFLite does in several, as several.

Where an intermediate tensor has no layer of its own, no range can be given to it, and it would stay float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras.src import ops as operations
from keras.src.applications.convnext import LayerScale

from edgepress.compression.graph.reader import Graph, Node, Shape, read
from edgepress.compression.graph.rebuild import NewLayer, rebuild, reconfigured
from edgepress.compression.quantization.attention import Attention, can_be_taken_apart
from edgepress.compression.quantization.folding import scale_and_offset
from edgepress.compression.quantization.layers import QUANTIZED, ChannelAffine

_layers = keras.layers
_activations = keras.activations
FUSED = (_activations.linear, _activations.relu, _activations.relu6)
"""Activations that are part of the operator before them."""

_OPERATIONS = {operations.nn.Silu: _activations.silu, operations.nn.HardSigmoid: _activations.hard_sigmoid}
_LARGEST_RANK = 4


def decompose(model: Any, left_float: frozenset[str] = frozenset()) -> Any:
    """Return a model that computes the same, of smaller layers.

    Activations that are no part of an operator become layers, SiLU, hard sigmoid, averages and attention become what
    they are made of, separable convolutions two, and what scales channels (BatchNormalization, Rescaling,
    Normalization) becomes a :class:`~edgepress.compression.quantization.layers.ChannelAffine`.

    Args:
        left_float: names of layers to leave as they are.
    """
    graph = read(model)
    replacements = {}
    for node in graph.nodes:
        if node.name not in replacements and node.name not in left_float:
            chain = _chain(graph, node)
            if chain:
                replacements[node.name] = chain
    return rebuild(graph, replacements)


def _chain(graph: Graph, node: Node) -> list[NewLayer]:
    """What takes the place of a node's layer; empty: nothing."""
    layer = node.operation
    if can_be_taken_apart(graph, node):
        return [NewLayer(Attention(layer, node.name))]
    if type(layer) is _layers.Average:
        return [NewLayer(_Mean(node.name))]
    if type(layer) in _OPERATIONS:
        return _activation(_OPERATIONS[type(layer)], node.name, node.output_shapes[0])
    if isinstance(layer, _layers.Activation):
        return _activation(layer.activation, node.name, node.output_shapes[0])
    if type(layer) is _layers.SeparableConv2D:
        return _separated(layer, _layers.DepthwiseConv2D, _layers.Conv2D, node)
    if type(layer) is _layers.SeparableConv1D and layer.padding != "causal":
        return _separated(layer, _layers.DepthwiseConv1D, _layers.Conv1D, node)
    if type(layer) in QUANTIZED and layer.activation not in FUSED:
        plain = reconfigured(layer, activation=None, name=node.name)
        return [NewLayer(plain, layer.get_weights()), *_standing(layer.activation, node)]
    affine = _affine(layer, graph.shape_of(node.inputs[0]) if node.inputs else ())
    return [affine] if affine else []


def _separated(layer: Any, depthwise: type, pointwise: type, node: Node) -> list[NewLayer]:
    kernels = layer.get_weights()
    of_both = {"dtype": layer.dtype_policy}
    first = depthwise(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        name=f"{node.name}_depthwise",
        **of_both,
    )
    fused = layer.activation in FUSED
    second = pointwise(
        layer.filters,
        1,
        activation=layer.activation if fused else None,
        use_bias=layer.use_bias,
        name=node.name,
        **of_both,
    )
    chain = [NewLayer(first, kernels[:1]), NewLayer(second, kernels[1:])]
    return chain if fused else [*chain, *_standing(layer.activation, node)]


def _standing(activation: Any, node: Node) -> list[NewLayer]:
    """An activation behind the layer that had it."""
    name = f"{node.name}_{getattr(activation, '__name__', 'activation')}"
    return _activation(activation, name, node.output_shapes[0]) or [NewLayer(_layers.Activation(activation, name=name))]


def _activation(activation: Any, name: str, shape: Shape) -> list[NewLayer]:
    """What an activation is made of; empty: it is one operator, or nobody here knows."""
    if activation is _activations.silu:
        inputs = keras.Input(shape[1:])
        gate = _layers.Activation("sigmoid", name=f"{name}_sigmoid")(inputs)
        outputs = _layers.Multiply(name=f"{name}_product")([inputs, gate])
    elif activation is _activations.hard_sigmoid:
        inputs = keras.Input(shape[1:])
        outputs = keras.ops.relu6(inputs + 3.0) * (1 / 6)
    else:
        return []
    return [NewLayer(keras.Model(inputs, outputs, name=name))]


class _Mean:
    """Calls what an Average is made of."""

    def __init__(self, name: str) -> None:
        self._add = _layers.Add(name=name)

    def call(self, inputs: Sequence[Any]) -> Any:
        return self._add(inputs) * (1 / len(inputs))

    __call__ = call


def _affine(layer: Any, shape: Shape) -> NewLayer | None:
    """The scale and offset of each channel, where a layer does nothing else."""
    if not 2 <= len(shape) <= _LARGEST_RANK or None in shape[1:]:
        return None
    channels = shape[-1] or 0
    if type(layer) is _layers.BatchNormalization and layer.axis in (-1, len(shape) - 1):
        scale, offset = scale_and_offset(layer)
    elif type(layer) is LayerScale:
        scale, offset = np.asarray(layer.gamma, np.float64), np.zeros(1)
    elif type(layer) is _layers.Rescaling and _reads_floats(layer):
        scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    elif type(layer) is _layers.Normalization and not layer.invert and layer._keep_axis in ((len(shape) - 1,), ()):
        scale = 1 / np.maximum(np.sqrt(np.asarray(layer.variance, np.float64)), keras.backend.epsilon()).ravel()
        offset = -np.asarray(layer.mean, np.float64).ravel() * scale
    else:
        return None
    if scale.size not in (1, channels) or offset.size not in (1, channels):
        return None
    weights: Sequence[Any] = [np.broadcast_to(part.ravel(), (channels,)).astype(np.float32) for part in (scale, offset)]
    return NewLayer(ChannelAffine(name=layer.name), weights)


def _reads_floats(layer: Any) -> bool:
    """Whether a layer reads floats: bytes are made floats first, of which int8 kernels know nothing."""
    return all(keras.backend.is_float_dtype(tensor.dtype) for tensor in layer._inbound_nodes[0].input_tensors)
