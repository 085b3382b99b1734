"""What Keras computes inside of one layer and int8 kernels in several operators, each with a range: attention."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.reader import Graph, Node
from edgepress.compression.graph.rebuild import reconfigured


def can_be_taken_apart(graph: Graph, node: Node) -> bool:
    """Whether a node is attention without masks over positions of one axis, called once, whose scores nobody wants."""
    layer = node.operation
    if type(layer) is not keras.layers.MultiHeadAttention or layer._use_gate or layer._sliding_window is not None:
        return False
    wanted = {name for name, value in node.kwargs.items() if value is not None and value is not False}
    return (
        len(graph.calls(node.name)) == 1
        and len(node.args) <= 3
        and wanted <= {"query", "value", "key"}
        and len(layer._attention_axes) == 1
        and len(node.output_shapes[0]) == 3
    )


class Attention:
    """Calls what a MultiHeadAttention is made of, layer by layer: to stand in for it while a model is rebuilt.

    The scores' scale is in the weights of the queries.
    """

    def __init__(self, layer: Any, name: str) -> None:
        self._layer = layer
        self._name = name

    def call(self, query: Any, value: Any, key: Any = None) -> Any:
        """Return the output for ``(batch, positions, channels)`` tensors."""
        layer, name = self._layer, self._name
        queries = self._projected("query", query, scale=1 / math.sqrt(layer._key_dim))
        keys = self._projected("key", value if key is None else key)
        shares = keras.layers.Softmax(name=f"{name}_softmax")(
            keras.ops.einsum(layer._dot_product_equation, keys, queries)
        )
        shares = keras.layers.Dropout(layer._dropout, seed=layer.seed, name=f"{name}_dropout")(shares)
        heads = keras.ops.einsum(layer._combine_equation, shares, self._projected("value", value))
        return self._projected("output", heads)

    __call__ = call

    def _projected(self, part: str, tensor: Any, scale: float = 1.0) -> Any:
        dense = getattr(self._layer, f"_{part}_dense")
        shape = (tensor.shape[1], *dense.partial_output_shape[1:])  # Keras leaves the number of positions open there
        copy = reconfigured(dense, name=f"{self._name}_{part}", output_shape=shape)
        projected = copy(tensor)
        copy.set_weights([np.asarray(weight * scale, np.float32) for weight in dense.get_weights()])
        return projected
