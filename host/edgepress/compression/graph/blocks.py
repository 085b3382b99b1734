"""Residual blocks: what can be left out of a graph without another layer noticing by its shapes."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras.src import ops as operations
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from edgepress.compression.graph.reader import Graph, Node, TensorRef

_ADDS = (keras.layers.Add, operations.numpy.Add, CustomScaleLayer)


@dataclass(frozen=True, eq=False)
class ResidualBlock:
    """``entry + branch(entry)``.

    Attributes:
        join: the node that adds both.
        entry: the tensor that the branch is made from, and that remains when it is left out.
        last: the tensor at the end of the branch.
        branch: the branch's nodes, in the order of the graph.
    """

    join: Node
    entry: TensorRef
    last: TensorRef
    branch: tuple[Node, ...]

    @property
    def exit(self) -> TensorRef:
        """The sum, in whose place the entry steps."""
        return TensorRef(self.join.index, 0)


def residual_blocks(graph: Graph) -> tuple[ResidualBlock, ...]:
    """Return the blocks whose shortcut is the entry itself, and whose branch reads nothing else and nobody else reads.

    Blocks inside of another block's branch are among them.
    """
    found = []
    for node in graph.nodes:
        if type(node.operation) not in _ADDS or len(node.inputs) != 2:
            continue
        orders = [node.inputs, node.inputs[::-1]]
        if type(node.operation) is CustomScaleLayer:  # first + scale * second
            orders = orders[:1]
        for entry, last in orders:
            branch = _branch(graph, node, entry, last)
            if branch and graph.shape_of(entry) == graph.shape_of(TensorRef(node.index, 0)):
                found.append(ResidualBlock(node, entry, last, branch))
                break
    return tuple(found)


def _branch(graph: Graph, join: Node, entry: TensorRef, last: TensorRef) -> tuple[Node, ...]:
    """The nodes between entry and join; none where the branch is not closed."""
    inside: set[int] = set()
    waiting = [last]
    while waiting:
        ref = waiting.pop()
        if ref == entry or ref.node in inside:
            continue
        node = graph.nodes[ref.node]
        if ref.node <= entry.node or not node.inputs or len(graph.calls(node.name)) > 1 or graph.is_output(node):
            return ()
        inside.add(ref.node)
        waiting.extend(node.inputs)
    for index in inside:
        if any(reader.index not in inside and reader is not join for reader in graph.consumers(graph.nodes[index])):
            return ()
    return tuple(graph.nodes[index] for index in sorted(inside))
