"""Leave nodes of a graph out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras

from edgepress.compression.graph.reader import Graph, Node, TensorRef


def bypass(graph: Graph, shortcuts: Mapping[TensorRef, TensorRef]) -> Graph:
    """Return the graph in which whoever reads a key of ``shortcuts`` reads its value instead.

    Values are tensors that come earlier in the graph. Nodes that nothing needs any more are gone; the model's inputs
    stay, used or not.
    """

    def final(ref: TensorRef) -> TensorRef:
        while ref in shortcuts:
            ref = shortcuts[ref]
        return ref

    needed = _needed(graph, final)
    kept = [node for node in graph.nodes if node.index in needed]
    places = {node.index: place for place, node in enumerate(kept)}

    def moved(value: Any) -> Any:
        if not isinstance(value, TensorRef):
            return value
        ref = final(value)
        return TensorRef(places[ref.node], ref.output)

    def renumbered(node: Node) -> Node:
        return dataclasses.replace(
            node,
            index=places[node.index],
            args=keras.tree.map_structure(moved, node.args),
            kwargs=keras.tree.map_structure(moved, node.kwargs),
            inputs=tuple(moved(ref) for ref in node.inputs),
        )

    return Graph(
        name=graph.name,
        nodes=tuple(renumbered(node) for node in kept),
        inputs=tuple(moved(ref) for ref in graph.inputs),
        outputs=tuple(moved(ref) for ref in graph.outputs),
        input_structure=keras.tree.map_structure(moved, graph.input_structure),
        output_structure=keras.tree.map_structure(moved, graph.output_structure),
    )


def _needed(graph: Graph, final: Callable[[TensorRef], TensorRef]) -> set[int]:
    """Numbers of the nodes that the outputs are made from, and of the inputs."""
    needed = {ref.node for ref in graph.inputs}
    waiting = [final(ref).node for ref in graph.outputs]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting.extend(final(ref).node for ref in graph.nodes[index].inputs)
    return needed
