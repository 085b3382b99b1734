"""Plain chains: a convolution, layers that keep its channels apart, and the one layer that reads them.

Where a chain is plain, a filter of its convolution can be removed without a trace: the layers between lose the channel,
and the reader loses the weights that multiplied it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node
from edgepress.compression.steps import Skip

_layers = keras.layers

PRODUCERS = (_layers.Conv1D, _layers.Conv2D)
CONSUMERS = (_layers.Conv1D, _layers.Conv2D, _layers.Dense)
DEPTHWISE = (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)

# Layers without weights of their own that work on each channel alone and give 0 for 0.
_CHANNELWISE = (
    _layers.ReLU,
    _layers.LeakyReLU,
    _layers.ELU,
    _layers.Dropout,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.GaussianDropout,
    _layers.Identity,
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.AveragePooling1D,
    _layers.AveragePooling2D,
    _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D,
    _layers.GlobalAveragePooling1D,
    _layers.GlobalAveragePooling2D,
    _layers.ZeroPadding1D,
    _layers.ZeroPadding2D,
    _layers.Cropping1D,
    _layers.Cropping2D,
    _layers.UpSampling1D,
    _layers.UpSampling2D,
)
# Activations that work on each number alone and give 0 for 0. A sigmoid would leave a constant where a channel was.
_ZERO_AT_ZERO = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "hard_silu", "mish"),
    *("tanh", "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "softsign"),
)

ChannelMap = NDArray[np.int64]
"""For each index of a tensor's last axis, the filter that it comes from."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A convolution whose filters can be removed.

    Attributes:
        producer: the convolution's node.
        between: layers with weights per channel on the way, each with the channel map of its input.
        consumer: the layer that mixes the channels, with the channel map of its input.
    """

    producer: Node
    between: tuple[tuple[Node, ChannelMap], ...]
    consumer: tuple[Node, ChannelMap]


def find_chains(graph: Graph) -> tuple[tuple[Chain, ...], tuple[Skip, ...]]:
    """Return the plain chains of a graph, and each other convolution with the reason why it is left alone."""
    chains: list[Chain] = []
    skipped: dict[str, Skip] = {}
    for node in graph.nodes:
        if not node.is_layer or not hasattr(node.operation, "filters"):
            continue
        found = _follow(graph, node)
        if isinstance(found, Chain):
            chains.append(found)
        else:
            skipped[node.name] = Skip(node.name, found)
    return tuple(chains), tuple(skipped.values())


def _follow(graph: Graph, producer: Node) -> Chain | str:
    """Walk from a convolution to the layer that mixes its channels; a string says why there is no plain chain."""
    reason = _not_a_producer(graph, producer)
    if reason is not None:
        return reason
    channels: ChannelMap = np.arange(producer.operation.filters)
    between: list[tuple[Node, ChannelMap]] = []
    node = producer
    while True:
        if graph.is_output(node):
            return "it reaches an output of the model"
        consumers = graph.consumers(node)
        if len(consumers) != 1:
            places = ", ".join(consumer.name for consumer in consumers)
            return f"its output goes to {len(consumers)} places ({places})" if consumers else "nothing reads its output"
        node = consumers[0]
        layer = node.operation
        if len(graph.calls(node.name)) > 1:
            return f"it meets {node.name}, which is shared between several calls"
        if len(node.inputs) > 1:
            return f"it meets {node.name} ({type(layer).__name__}), which joins several tensors"
        if type(layer) in CONSUMERS:
            return _end(producer, between, node, channels)
        if type(layer) in DEPTHWISE or type(layer) is _layers.BatchNormalization:
            reason = _not_channelwise(node)
            if reason is not None:
                return reason
            between.append((node, channels))
            if type(layer) in DEPTHWISE:
                channels = np.repeat(channels, layer.depth_multiplier)
        elif type(layer) is _layers.Flatten:
            channels = _flattened(channels, node)
        else:
            reason = _not_channelwise(node)
            if reason is not None:
                return reason


def _not_a_producer(graph: Graph, node: Node) -> str | None:
    layer = node.operation
    if type(layer) not in PRODUCERS:
        return f"no rule for {type(layer).__name__}"
    if len(graph.calls(node.name)) > 1:
        return "it is shared between several calls"
    if layer.groups != 1:
        return f"its filters are in {layer.groups} groups"
    return _leaves_constant(layer, node.name)


def _end(producer: Node, between: list[tuple[Node, ChannelMap]], node: Node, channels: ChannelMap) -> Chain | str:
    if getattr(node.operation, "groups", 1) != 1:
        return f"{node.name} reads its channels in {node.operation.groups} groups"
    return Chain(producer, tuple(between), (node, channels))


def _not_channelwise(node: Node) -> str | None:
    layer = node.operation
    if type(layer) in _CHANNELWISE or type(layer) in DEPTHWISE or type(layer) is _layers.Activation:
        return _leaves_constant(layer, node.name)
    if type(layer) is _layers.BatchNormalization:
        last = len(node.output_shapes[0]) - 1
        return None if layer.axis in (-1, last) else f"{node.name} normalises axis {layer.axis}, not the channels"
    return f"it meets {node.name} ({type(layer).__name__}), for which there is no rule"


def _leaves_constant(layer: Any, name: str) -> str | None:
    activation = getattr(layer, "activation", None)
    if activation is None:
        return None
    activation_name = getattr(activation, "__name__", type(activation).__name__)
    if activation_name in _ZERO_AT_ZERO:
        return None
    return f"{name} has the activation {activation_name}, which mixes channels or is not 0 at 0"


def _flattened(channels: ChannelMap, node: Node) -> ChannelMap:
    """Flatten puts the channel fastest: index = position * channels + channel (channels_last)."""
    size = node.output_shapes[0][-1]
    assert size is not None  # shapes other than the batch are fixed
    return np.tile(channels, size // len(channels))
