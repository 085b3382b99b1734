"""What Keras computes inside of one layer and int8 kernels in several operators, each with a range: attention."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.reader import Node
from edgepress.compression.graph.rebuild import reconfigured

_PARTS = ("query", "key", "value", "output")


def can_be_taken_apart(node: Node) -> bool:
    """Whether a node is attention without masks over positions of one axis, whose scores nobody else wants."""
    layer = node.operation
    if type(layer) is not keras.layers.MultiHeadAttention or layer._use_gate or layer._sliding_window is not None:
        return False
    wanted = {name for name, value in node.kwargs.items() if value is not None and value is not False}
    return (
        len(node.args) <= 3
        and wanted <= {"query", "value", "key"}
        and len(layer._attention_axes) == 1
        and len(node.output_shapes[0]) == 3
    )


class Attention:
    """Calls what a MultiHeadAttention is made of, layer by layer: to stand in for it while a model is rebuilt.

    The scores' scale is in the weights of the queries.
    """

    def __init__(self, layer: Any, name: str) -> None:
        self._equations = (layer._dot_product_equation, layer._combine_equation)
        self._projections = {}
        self._weights = {}
        for part in _PARTS:
            dense = getattr(layer, f"_{part}_dense")
            self._projections[part] = reconfigured(dense, name=f"{name}_{part}")
            self._weights[part] = dense.get_weights()
        scale = 1 / math.sqrt(layer._key_dim)
        self._weights["query"] = [np.asarray(weight * scale, np.float32) for weight in self._weights["query"]]
        self._softmax = keras.layers.Softmax(name=f"{name}_softmax")
        self._dropout = keras.layers.Dropout(layer._dropout, seed=layer.seed, name=f"{name}_dropout")

    def call(self, query: Any, value: Any, key: Any = None) -> Any:
        """Return the output for ``(batch, positions, channels)`` tensors."""
        scores = keras.ops.einsum(
            self._equations[0], self._projected("key", value if key is None else key), self._projected("query", query)
        )
        shares = self._dropout(self._softmax(scores))
        heads = keras.ops.einsum(self._equations[1], shares, self._projected("value", value))
        return self._projected("output", heads)

    __call__ = call

    def _projected(self, part: str, tensor: Any) -> Any:
        dense = self._projections[part]
        projected = dense(tensor)
        dense.set_weights(self._weights[part])
        return projected
