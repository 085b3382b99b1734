"""How much memory a model's activations need at one time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras.src import ops as operations

from edgepress.compression.graph.reader import Graph, Node, Shape, TensorRef
from edgepress.compression.quantization.layers import FakeQuant

_FLOAT32_BYTES = 4

# The same numbers in another shape, or unchanged at inference: never a tensor of its own.
_VIEWS = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.Identity,
    operations.numpy.Reshape,
    operations.numpy.ExpandDims,
    operations.numpy.Squeeze,
    FakeQuant,
)
# What a converter folds into the layer before, where nobody else reads what that one makes.
_FOLDED = (keras.layers.BatchNormalization, keras.layers.ReLU, operations.nn.Relu, operations.nn.Relu6)
_FOLDED_ACTIVATIONS = (None, keras.activations.linear, keras.activations.relu, keras.activations.relu6)


def peak_activation_bytes(graph: Graph) -> int:
    """Return the largest sum of tensors that are needed at one time, for one sample in float32.

    Nodes run in the order of the graph. The model's inputs stay to the end, as interpreters keep them, and outputs from
    when they are made. Reshapes are no tensors of their own, and neither is what BatchNormalization and ReLU make of a
    tensor that nobody else reads, or padding that a convolution can do itself; other activations need one before and
    one behind them. Separable convolutions and attention with several heads are the kernels that they are converted to,
    with tensors between. An interpreter's arena has scratch memory of its kernels, too. Sizes that the model leaves
    open count as 1.
    """
    place = _places(graph)
    last_use = {place[ref]: ref.node for ref in place}
    for node in graph.nodes:
        for ref in node.inputs:
            last_use[place[ref]] = max(last_use[place[ref]], node.index)
    for ref in (*graph.inputs, *graph.outputs):
        last_use[place[ref]] = len(graph.nodes)
    sizes = {ref: _FLOAT32_BYTES * _elements(graph.shape_of(ref)) for ref in last_use}
    peak = 0
    for node in graph.nodes:
        alive = {ref: size for ref, size in sizes.items() if ref.node <= node.index <= last_use[ref]}
        peak = max(peak, sum(alive.values()))
        if hasattr(node.operation, "kernel") and not _is_folded(node):  # its inputs are gone before its activation runs
            left = sum(size for ref, size in alive.items() if ref.node == node.index or last_use[ref] > node.index)
            peak = max(peak, left + _FLOAT32_BYTES * _elements(node.output_shapes[0]))
        for stage in _stages(graph, node):
            here = [
                size for ref, size in alive.items() if stage.holds(ref.node == node.index, last_use[ref] > node.index)
            ]
            peak = max(peak, sum(here) + _FLOAT32_BYTES * stage.elements)
    return peak


@dataclass(frozen=True)
class _Stage:
    """While a layer runs: how many values lie inside of it, and whether its inputs and outputs are there."""

    elements: int
    inputs: bool = False
    output: bool = False

    def holds(self, is_output: bool, is_needed_later: bool) -> bool:
        """Whether a tensor that the layer makes, or found when it began, is there."""
        return self.output if is_output else self.inputs or is_needed_later


def _stages(graph: Graph, node: Node) -> tuple[_Stage, ...]:
    """What a layer that is several kernels holds from one to the next."""
    layer: Any = node.operation
    if isinstance(layer, keras.layers.SeparableConv1D | keras.layers.SeparableConv2D):
        *_, channels, multiplier = layer.depthwise_kernel.shape
        between = _elements(node.output_shapes[0][:-1]) * channels * multiplier
        return _Stage(between, inputs=True), _Stage(between, output=True)
    if isinstance(layer, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention):
        asking, answering = (_elements(graph.shape_of(node.argument(name))[:-1]) for name in ("query", "value"))
        heads = layer._query_dense.kernel.shape[1]
        query, key, value = (
            positions * math.prod(dense.kernel.shape[1:])
            for dense, positions in (
                (layer._query_dense, asking),
                (layer._key_dense, answering),
                (layer._value_dense, answering),
            )
        )
        scores, heard = heads * asking * answering, asking * heads * layer._value_dense.kernel.shape[2]
        return (
            _Stage(query + key + value, inputs=True),
            _Stage(query + key + value + scores),
            _Stage(value + 2 * scores),  # before and behind the softmax
            _Stage(value + scores + heard),
            _Stage(heard, output=True),
        )
    return ()


def _places(graph: Graph) -> dict[TensorRef, TensorRef]:
    """For each tensor the one in whose memory it lies."""
    readers: dict[TensorRef, int] = {}
    for node in graph.nodes:
        for ref in node.inputs:
            readers[ref] = readers.get(ref, 0) + 1
    place: dict[TensorRef, TensorRef] = {}
    for node in graph.nodes:
        for output in range(len(node.output_shapes)):
            ref = TensorRef(node.index, output)
            place[ref] = place[node.inputs[0]] if _shares(graph, node, readers) else ref
    return place


def _shares(graph: Graph, node: Node, readers: dict[TensorRef, int]) -> bool:
    if isinstance(node.operation, _VIEWS) or _is_same_padding(graph, node):
        return True
    if not isinstance(node.operation, (*_FOLDED, keras.layers.Activation)) or not _is_folded(node):
        return False
    source = node.inputs[0]
    return readers[source] == 1 and source not in graph.inputs and source not in graph.outputs


def _is_same_padding(graph: Graph, node: Node) -> bool:
    """Whether the node pads as much as ``padding="same"`` of the convolution behind it would, which converters see."""
    readers = graph.consumers(node)
    if type(node.operation) is not keras.layers.ZeroPadding2D or len(readers) != 1:
        return False
    layer = readers[0].operation
    if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D) or layer.padding != "valid":
        return False
    sizes = graph.shape_of(node.inputs[0])[1:3]
    for size, given, kernel, stride in zip(
        sizes, node.operation.padding, layer.kernel_size, layer.strides, strict=True
    ):
        total = max((-(-(size or 1) // stride) - 1) * stride + kernel - (size or 1), 0)
        if tuple(given) != (total // 2, total - total // 2):
            return False
    return True


def _is_folded(node: Node) -> bool:
    """Whether what the node makes is no other tensor before its activation."""
    return getattr(node.operation, "activation", None) in _FOLDED_ACTIVATIONS


def _elements(shape: Shape) -> int:
    return math.prod(size or 1 for size in shape)
