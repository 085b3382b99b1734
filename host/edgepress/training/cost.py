"""What one inference costs: weights and activations in bytes, and multiply-accumulates by formula."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src import ops as operations

from edgepress.compression.graph.liveness import peak_activation_bytes
from edgepress.compression.graph.reader import Graph, Node, Shape, TensorRef, read
from edgepress.compression.quantization.layers import FakeQuant

_layers = keras.layers
_RECURRENT = (_layers.LSTM, _layers.GRU, _layers.SimpleRNN)


@dataclass(frozen=True)
class Cost:
    """Attributes:
    parameters: all weights, BatchNorm statistics included, ranges for int8 not; a shared layer's once.
    weight_bytes: of these, in the types that the Keras model has them in.
    peak_activation_bytes: of one sample in float32, see
        :func:`~edgepress.compression.graph.liveness.peak_activation_bytes`.
    macs: multiply-accumulates of one sample in convolutions, Dense, recurrent and attention layers, and in products of
        two tensors (``Dot``, ``keras.ops.matmul`` and ``einsum``); a shared layer's for each call.
    uncounted: layers that have weights but no rule here (their MACs count as 0).
    has_open_sizes: the model leaves the size of an axis other than the batch open. Such sizes count as 1, so that MACs
        and activations are those of one position only.
    """

    parameters: int
    weight_bytes: int
    peak_activation_bytes: int
    macs: int
    uncounted: tuple[str, ...] = ()
    has_open_sizes: bool = False


def cost_of(model: Any) -> Cost:
    """Return what a functional or Sequential model costs."""
    graph = read(model)
    macs = 0
    uncounted: list[str] = []
    for node in graph.nodes:
        count = _macs(graph, node)
        if count is not None:
            macs += count
        elif node.is_layer and any(len(weight.shape) > 1 for weight in node.operation.weights):
            uncounted.append(node.name)
    ranges = {id(w) for x in graph.layers().values() if isinstance(x, FakeQuant) for w in x.weights}
    weights = [weight for weight in model.weights if id(weight) not in ranges]
    return Cost(
        parameters=sum(map(_size, weights)),
        weight_bytes=sum(_size(w) * np.dtype(w.dtype).itemsize for w in weights),
        peak_activation_bytes=peak_activation_bytes(graph),
        macs=macs,
        uncounted=tuple(dict.fromkeys(uncounted)),
        has_open_sizes=any(None in graph.shape_of(ref)[1:] for ref in graph.inputs),
    )


def _macs(graph: Graph, node: Node) -> int | None:
    """MACs of one call, None where there is no rule. Kernel shapes are Keras': (..., in / groups, out)."""
    layer = node.operation
    if not node.inputs:
        return None
    shape_in = graph.shape_of(node.inputs[0])
    size_in, size_out = _positions(shape_in), _positions(node.output_shapes[0])
    if isinstance(layer, _layers.SeparableConv1D | _layers.SeparableConv2D):
        return size_out * sum(map(_size, layer.weights[:2]))
    if isinstance(layer, _layers.Conv1DTranspose | _layers.Conv2DTranspose | _layers.Conv3DTranspose):
        return size_in * _size(layer.kernel)
    if isinstance(
        layer,
        _layers.Conv1D
        | _layers.Conv2D
        | _layers.Conv3D
        | _layers.DepthwiseConv1D
        | _layers.DepthwiseConv2D
        | _layers.Dense,
    ):
        return size_out * _size(layer.kernel)
    if isinstance(layer, _layers.EinsumDense):
        return _of_letters(layer.equation, [shape_in, tuple(layer.kernel.shape)])
    if isinstance(layer, _RECURRENT):
        return _of_steps(layer, size_in)
    if isinstance(layer, _layers.Bidirectional):
        both = (layer.forward_layer, layer.backward_layer)
        return sum(_of_steps(one, size_in) for one in both) if all(isinstance(x, _RECURRENT) for x in both) else None
    if isinstance(layer, _layers.MultiHeadAttention | _layers.GroupQueryAttention):
        return _of_attention(layer, *(_positions(graph.shape_of(node.argument(name))) for name in ("query", "value")))
    if isinstance(layer, _layers.Attention | _layers.AdditiveAttention):
        values, width = (size or 1 for size in graph.shape_of(node.inputs[1])[-2:])
        return size_in * values * ((shape_in[-1] or 1) + width)
    if isinstance(layer, _layers.Dot):
        axes = (layer.axes,) * 2 if isinstance(layer.axes, int) else layer.axes
        return _size_of(node.output_shapes[0]) * (shape_in[axes[0]] or 1)
    if isinstance(layer, operations.numpy.Matmul):
        first = node.argument("x1")  # which may be a constant
        shape = graph.shape_of(first) if isinstance(first, TensorRef) else np.shape(first)
        return _size_of(node.output_shapes[0]) * (shape[-1] or 1)
    if isinstance(layer, operations.numpy.Einsum):
        return _of_letters(layer.subscripts, [graph.shape_of(ref) for ref in node.inputs])
    return 0 if isinstance(layer, _layers.Embedding) else None


def _of_letters(equation: str, shapes: Sequence[Shape]) -> int | None:
    """Every letter of an einsum is a loop; what ``...`` stands for, too. None for no product of several tensors."""
    terms = re.sub(r"\s", "", equation.split("->")[0]).split(",")
    if len(terms) < 2 or len(terms) != len(shapes):
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, behind = term.partition("...")
        places = len(shape) - len(before) - len(behind)
        letters = [*before, *(f"...{place - places}" for place in range(places if dots else 0)), *behind]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size or 1)
    return math.prod(sizes.values())


def _of_steps(layer: Any, steps: int) -> int:
    return steps * (_size(layer.cell.kernel) + _size(layer.cell.recurrent_kernel))


def _of_attention(layer: Any, queries: int, values: int) -> int:
    """The projections, the scores, and the values weighted by them."""
    projections = [(layer._query_dense, queries), (layer._key_dense, values), (layer._value_dense, values)]
    projections.append((layer._output_dense, queries))
    if hasattr(layer, "_gate_dense"):
        projections.append((layer._gate_dense, queries))
    heads, key_size = layer._query_dense.kernel.shape[1:]
    value_size = layer._value_dense.kernel.shape[2]
    attention = heads * queries * values * (key_size + value_size)
    return int(sum(positions * _size(dense.kernel) for dense, positions in projections) + attention)


def _size(weight: Any) -> int:
    return math.prod(weight.shape)


def _size_of(shape: Shape) -> int:
    """Number of values in a tensor of one sample."""
    return math.prod(size or 1 for size in shape[1:])


def _positions(shape: Shape) -> int:
    """Number of places in a channels-last tensor, without batch and channels."""
    return math.prod(size or 1 for size in shape[1:-1])
