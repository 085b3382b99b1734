"""What one inference costs: number of weights, and multiply-accumulates by formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from edgepress.compression.graph.reader import Graph, Node, read


@dataclass(frozen=True)
class Cost:
    """Attributes:
    parameters: all weights, BatchNorm statistics included; a shared layer's once.
    macs: multiply-accumulates of one sample in convolutions and Dense layers; a shared layer's for each call.
    uncounted: layers that have weights but no rule here (their MACs count as 0).
    """

    parameters: int
    macs: int
    uncounted: tuple[str, ...] = ()


def cost_of(model: Any) -> Cost:
    """Return parameters and MACs of a functional or Sequential model."""
    graph = read(model)
    macs = 0
    uncounted: list[str] = []
    for node in graph.nodes:
        count = _macs(graph, node)
        if count is not None:
            macs += count
        elif node.is_layer and any(len(weight.shape) > 1 for weight in node.operation.weights):
            uncounted.append(node.name)
    return Cost(int(model.count_params()), macs, tuple(dict.fromkeys(uncounted)))


def _macs(graph: Graph, node: Node) -> int | None:
    """MACs of one call, None where there is no rule. Kernel shapes are Keras': (..., in / groups, out)."""
    layer = node.operation
    layers = keras.layers
    if not node.is_layer or not node.inputs:
        return None
    size_in = _positions(graph.shape_of(node.inputs[0]))
    size_out = _positions(node.output_shapes[0])
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        depthwise, pointwise = (math.prod(weight.shape) for weight in layer.weights[:2])
        return int(size_out * (depthwise + pointwise))
    if isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose):
        return int(size_in * math.prod(layer.kernel.shape))
    if isinstance(
        layer,
        layers.Conv1D | layers.Conv2D | layers.Conv3D | layers.DepthwiseConv1D | layers.DepthwiseConv2D | layers.Dense,
    ):
        return int(size_out * math.prod(layer.kernel.shape))
    return None


def _positions(shape: tuple[int | None, ...]) -> int:
    """Number of places in a channels-last tensor, without batch and channels."""
    return math.prod(size or 1 for size in shape[1:-1])
