"""Runs of an annotated graph node by node, several beside each other: rounded and not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, TensorRef
from edgepress.compression.quantization.layers import FakeQuant, QuantizedWeights
from edgepress.data import Split

Array = NDArray[Any]

_SAMPLES = 128
_INPUT_BYTES = 8 << 20  # of the samples together: what flows through a graph is a few hundred times as much


def few_of(split: Split) -> Split:
    """Return the first samples of a split, as many as may flow through a graph at once."""
    return split.take(slice(max(1, min(_SAMPLES, _INPUT_BYTES // split.sample_bytes))))


class Run:
    """What flows through a graph in one run. Tensors are let go after their last reader.

    Args:
        inputs: one array per model input, in model order.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Array]) -> None:
        self._last_reader = {ref: node.index for node in graph.nodes for ref in node.inputs}
        self._tensors = graph.fed(inputs)

    def __getitem__(self, ref: TensorRef) -> Any:
        return self._tensors[ref]

    def call(self, node: Node, *, exact: bool = False) -> Any:
        """Return what a node makes of its inputs here; ``exact``: without rounding anything."""
        layer: Any = node.operation
        if exact and isinstance(layer, FakeQuant):
            return self[node.inputs[0]]

        def fill(value: Any) -> Any:
            return self[value] if isinstance(value, TensorRef) else value

        args, kwargs = keras.tree.map_structure(fill, (node.args, node.kwargs))
        rounds = isinstance(layer, QuantizedWeights)
        if rounds:
            layer.exact = exact
        try:
            return layer(*args, **kwargs)
        finally:
            if rounds:
                layer.exact = False

    def put(self, node: Node, outputs: Any) -> None:
        """Let nodes that follow read these as the outputs of a node, and forget what nobody reads any more."""
        for position, output in enumerate(keras.tree.flatten(outputs)):
            self._tensors[TensorRef(node.index, position)] = output
        for ref in node.inputs:
            if self._last_reader[ref] == node.index:
                self._tensors.pop(ref, None)


def channel_peaks(values: Any) -> Array:
    """Return the largest magnitude of each channel, the last axis."""
    array = np.abs(np.asarray(values, np.float64))
    return np.asarray(array.max(axis=tuple(range(array.ndim - 1)), initial=0))
