"""What flows between the nodes of a graph when it is run on data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, TensorRef

Visit = Callable[[Node, tuple[NDArray[Any], ...]], None]
"""Is shown a node and what flows into it: one array per input, ``(n, ...)``."""


def trace(graph: Graph, inputs: Sequence[NDArray[Any]], visit: Visit) -> None:
    """Run a graph's own layers in inference on one batch, and show each node before it runs.

    A visitor may change the weights of the layer that it is shown: the nodes behind it see what comes of that. Tensors
    are let go after their last reader.
    """
    last_reader = {ref: node.index for node in graph.nodes for ref in node.inputs}
    tensors = graph.fed(inputs)

    def fill(value: Any) -> Any:
        return tensors[value] if isinstance(value, TensorRef) else value

    for node in graph.nodes:
        if isinstance(node.operation, keras.layers.InputLayer):
            continue
        visit(node, tuple(np.asarray(tensors[ref]) for ref in node.inputs))
        args = keras.tree.map_structure(fill, node.args)
        kwargs = keras.tree.map_structure(fill, node.kwargs)
        if "training" in kwargs:
            kwargs["training"] = False  # whatever a call in the model says, as Keras does when it runs the model so
        outputs = node.operation(*args, **kwargs)
        for ref in node.inputs:
            if last_reader[ref] == node.index:
                tensors.pop(ref, None)
        for position, output in enumerate(keras.tree.flatten(outputs)):
            tensors[TensorRef(node.index, position)] = output
