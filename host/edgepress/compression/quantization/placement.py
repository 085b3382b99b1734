"""Where a range is needed in a graph, and where it is already known.

TFLite's rules: each tensor between integer operators has a scale. An activation that the operator before it does itself
(ReLU, ReLU6) has none in front of it. What only moves numbers (reshapes, maximum pooling, padding with zeros) keeps the
scale of its input, and so does average pooling. Concatenation and maximum take all their inputs at the scale of their
output. Sigmoid, softmax and tanh have prescribed ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras.src import ops as operations

from edgepress.compression.graph.reader import Graph, Node, TensorRef
from edgepress.compression.quantization.layers import QUANTIZED, ChannelAffine

_layers = keras.layers
_numpy = operations.numpy
_nn = operations.nn

Role = Literal["input", "arithmetic", "function", "fixed", "moves", "averages", "joins", "float"]

_UNIT = (0.0, 255 / 256)
_SYMMETRIC = (-1.0, 127 / 128)
_SIX = (0.0, 6.0)
_FIXED_FUNCTIONS = {
    keras.activations.sigmoid: _UNIT,
    keras.activations.softmax: _UNIT,
    keras.activations.tanh: _SYMMETRIC,
    keras.activations.relu6: _SIX,
}
_FIXED_OPERATIONS = {_nn.Sigmoid: _UNIT, _nn.Softmax: _UNIT, _numpy.Tanh: _SYMMETRIC, _nn.Relu6: _SIX}
_FUNCTIONS = (  # activations that are one int8 operator of any range
    keras.activations.relu,
    keras.activations.gelu,
    keras.activations.hard_silu,
    keras.activations.leaky_relu,
)
_ARITHMETIC = (  # operators that can do a ReLU at their end
    *QUANTIZED,
    ChannelAffine,
    _layers.Add,
    _layers.Subtract,
    _layers.Multiply,
    _numpy.Add,
    _numpy.Subtract,
    _numpy.Multiply,
)
_ONE_OPERATOR = (
    _layers.LeakyReLU,
    _layers.PReLU,
    _layers.ReLU,
    _layers.GlobalAveragePooling1D,
    _layers.GlobalAveragePooling2D,
    _layers.Dot,
    _nn.Relu,
    _nn.Gelu,
    _nn.HardSilu,
    _nn.LeakyRelu,
    _numpy.Mean,
    _numpy.Sum,
    _numpy.Matmul,
    _numpy.Einsum,
)
_MOVES = (
    _layers.Flatten,
    _layers.Reshape,
    _layers.Permute,
    _layers.RepeatVector,
    _layers.Identity,
    _layers.ActivityRegularization,
    _layers.Dropout,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.ZeroPadding1D,
    _layers.ZeroPadding2D,
    _layers.Cropping1D,
    _layers.Cropping2D,
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D,
    _layers.UpSampling1D,
    _numpy.Reshape,
    _numpy.Transpose,
    _numpy.ExpandDims,
    _numpy.Squeeze,
    _numpy.GetItem,
    _numpy.Split,
    _numpy.Max,
)
_AVERAGES = (_layers.AveragePooling1D, _layers.AveragePooling2D)
_JOINS = (_layers.Concatenate, _layers.Maximum, _layers.Minimum, _numpy.Concatenate, _numpy.Maximum, _numpy.Minimum)


@dataclass(frozen=True)
class Range:
    """A range that a tensor is rounded to.

    Attributes:
        bounds: prescribed; None: it comes from data.
        of: the tensor whose range it is; another than the rounded one where that is only moved or averaged.
    """

    of: TensorRef
    bounds: tuple[float, float] | None = None


def role_of(node: Node, left_float: frozenset[str] = frozenset()) -> Role:
    """Return what a node is to int8 kernels; ``float``: nothing that they can do."""
    layer = node.operation
    if isinstance(layer, _layers.InputLayer):
        return "input"
    if node.name in left_float:
        return "float"
    if _bounds(layer) is not None:
        return "fixed"
    if type(layer) in _ARITHMETIC:
        return "arithmetic"
    if type(layer) in _ONE_OPERATOR:
        return "function"
    if type(layer) is _layers.Activation and layer.activation in _FUNCTIONS:
        return "function"
    if type(layer) is _layers.UpSampling2D:
        return {"nearest": "moves", "bilinear": "averages"}.get(layer.interpolation, "float")  # type: ignore[return-value]
    if type(layer) in _MOVES or (type(layer) is _layers.Activation and layer.activation is keras.activations.linear):
        return "moves"
    if type(layer) in _AVERAGES:
        return "averages"
    return "joins" if type(layer) in _JOINS else "float"


@dataclass(frozen=True)
class Placements:
    """Attributes:
    placed: the range for each tensor that needs rounding of its own.
    known: the range of each tensor that has one: its own, or that of what it was moved from.
    """

    placed: Mapping[TensorRef, Range]
    known: Mapping[TensorRef, Range]


def placements(graph: Graph, left_float: frozenset[str] = frozenset()) -> Placements:
    """Return where ranges are needed, and known."""
    roles = {node.index: role_of(node, left_float) for node in graph.nodes}
    placed: dict[TensorRef, Range] = {}
    known: dict[TensorRef, Range] = {}
    for node in graph.nodes:
        role = roles[node.index]
        for output in range(len(node.output_shapes)):
            ref = TensorRef(node.index, output)
            before = known.get(node.inputs[0]) if node.inputs else None
            if role == "moves":
                if before is not None:
                    known[ref] = before
                continue
            if role == "averages" and before is not None:
                placed[ref] = known[ref] = before
            elif _needs_one(graph, node, ref, roles):
                placed[ref] = known[ref] = Range(ref, _bounds(node.operation) if role == "fixed" else None)
    return Placements(placed, known)


def joined_range(graph: Graph, ref: TensorRef, placed: Mapping[TensorRef, Range]) -> Range | None:
    """Return the range at which what makes ``ref`` takes the tensors that it joins: its own, or that of what joins it
    with others in turn."""
    while ref not in placed:
        readers = _readers(graph, ref)
        if len(readers) != 1 or len(readers[0].output_shapes) != 1:
            return None
        ref = TensorRef(readers[0].index, 0)
    return placed[ref]


def _needs_one(graph: Graph, node: Node, ref: TensorRef, roles: dict[int, Role]) -> bool:
    role = roles[node.index]
    readers = _readers(graph, ref)
    if role == "float":
        return ref in graph.outputs or any(roles[reader.index] != "float" for reader in readers)
    if role == "fixed" or role == "input" or ref in graph.outputs or len(readers) != 1:
        return True
    if role == "arithmetic" and _is_fused(readers[0]) and roles[readers[0].index] != "float":
        return False
    return not _only_joined(graph, ref, roles)


def _only_joined(graph: Graph, ref: TensorRef, roles: dict[int, Role]) -> bool:
    """Whether a tensor, moved or not, goes nowhere but into one that joins others, and takes its range from that."""
    readers = _readers(graph, ref)
    if len(readers) != 1 or ref in graph.outputs:
        return False
    reader = readers[0]
    if roles[reader.index] == "moves" and len(reader.output_shapes) == 1:
        return _only_joined(graph, TensorRef(reader.index, 0), roles)
    return roles[reader.index] == "joins"


def _readers(graph: Graph, ref: TensorRef) -> list[Node]:
    return [node for node in graph.nodes if ref in node.inputs]


def _is_fused(node: Node) -> bool:
    """Whether a node is an activation that the operator before it can do."""
    layer = node.operation
    if type(layer) is _layers.Activation:
        return layer.activation in (keras.activations.relu, keras.activations.relu6)
    if type(layer) is _layers.ReLU:
        return _is_plain(layer) and layer.max_value in (None, 6)
    return type(layer) in (_nn.Relu, _nn.Relu6)


def _is_plain(layer: Any) -> bool:
    return not layer.negative_slope and not layer.threshold


def _bounds(layer: Any) -> tuple[float, float] | None:
    """The range that TFLite prescribes for what a layer gives, or that follows from what it does."""
    activation = getattr(layer, "activation", None)
    if type(layer) is _layers.Activation or type(layer) in QUANTIZED or type(layer) in QUANTIZED.values():
        return _FIXED_FUNCTIONS.get(activation)
    if type(layer) is _layers.ReLU and _is_plain(layer) and layer.max_value == 6:
        return _SIX
    if type(layer) is _layers.Softmax:
        return _UNIT
    return _FIXED_OPERATIONS.get(type(layer))
