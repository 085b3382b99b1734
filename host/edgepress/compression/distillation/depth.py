"""Fewer layers of one shape after another."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from edgepress.compression.graph.blocks import residual_blocks
from edgepress.compression.graph.bypass import bypass
from edgepress.compression.graph.reader import Graph, Node, Shape, TensorRef
from edgepress.errors import CompressionError

_MAIN = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
    keras.layers.LSTM,
    keras.layers.GRU,
)
_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.Dropout)
_NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.LayerNormalization)


@dataclass(frozen=True)
class _Unit:
    """What can be left out: its ``entry`` steps in the place of its ``exit``, which has the same shape."""

    name: str
    entry: TensorRef
    exit: TensorRef
    shape: Shape


def with_depth(graph: Graph, depth: float) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph with a share of its layers, and the names of the blocks and layers that were left out.

    Raises:
        CompressionError: nothing in it can be left out.
    """
    units = _units(graph)
    by_shape: dict[Shape, list[_Unit]] = {}
    for unit in units:
        by_shape.setdefault(unit.shape, []).append(unit)
    left_out: list[_Unit] = []
    for same in by_shape.values():
        kept = max(0, round(depth * (len(same) + 1)) - 1)
        left_out += same[kept:]
    if not left_out:
        raise CompressionError(
            f"this model cannot be scaled to a depth of {depth:g}: {len(units)} of its blocks and layers keep their "
            'shape. Give a student of your own, student = "small.keras"'
        )
    return bypass(graph, {unit.exit: unit.entry for unit in left_out}), tuple(unit.name for unit in left_out)


def _units(graph: Graph) -> list[_Unit]:
    """Outermost residual blocks and layers outside of them, in the order of the graph."""
    blocks = residual_blocks(graph)
    inside = {node.index for block in blocks for node in block.branch}
    units = [
        # The normalization behind a sum may be the network's last one, which stays.
        _Unit(block.join.name, block.entry, _end(graph, block.join, _ACTIVATIONS), graph.shape_of(block.exit))
        for block in blocks
        if block.join.index not in inside
    ]
    for node in graph.nodes:
        if isinstance(node.operation, _MAIN) and node.index not in inside and len(graph.calls(node.name)) == 1:
            shape = node.output_shapes[0]
            exit_ = _end(graph, node, _NORMALIZATIONS + _ACTIVATIONS)
            if graph.shape_of(node.inputs[0]) == shape and exit_ not in graph.outputs:
                units.append(_Unit(node.name, node.inputs[0], exit_, shape))
    return sorted(units, key=lambda unit: unit.exit.node)


def _end(graph: Graph, node: Node, following: tuple[type, ...]) -> TensorRef:
    """The end of the layers of these kinds behind a node, which go with it."""
    while True:
        readers = graph.consumers(node)
        if len(readers) != 1 or not isinstance(readers[0].operation, following) or graph.is_output(node):
            return TensorRef(node.index, 0)
        if len(graph.calls(readers[0].name)) > 1:
            return TensorRef(node.index, 0)
        node = readers[0]
