"""What flows through layers on data, as means and second moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.factorization.einsum import outputs_as_rows
from edgepress.compression.graph.reader import Graph, Node
from edgepress.compression.graph.tracing import trace
from edgepress.data import Split

Rows = NDArray[Any]
See = Callable[[Any, Rows], Rows | None]
"""Makes rows of a layer's inputs, those whose moments are wanted; or none."""

_SAMPLES = 256
_BATCH_BYTES = 2 << 20  # of input at a time: what flows through the graph is a few hundred times as much
_ROWS = 4096  # of a layer and batch: neighbouring places of a picture say much the same


@dataclass
class Moments:
    """Of rows ``(n, d)``, taken batch by batch."""

    count: int = 0
    _sum: Any = 0.0
    _products: Any = 0.0

    def add(self, rows: NDArray[Any]) -> None:
        """Take in more rows."""
        rows = rows.astype(np.float32)
        self.count += len(rows)
        self._sum = self._sum + rows.sum(axis=0, dtype=np.float64)
        self._products = self._products + (rows.T @ rows).astype(np.float64)

    @property
    def mean(self) -> NDArray[np.float64]:
        """``(d,)``."""
        return np.asarray(self._sum / self.count)

    @property
    def second(self) -> NDArray[np.float64]:
        """Mean products ``(d, d)``, about 0."""
        return np.asarray(self._products / self.count)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """``(d, d)``, about the mean."""
        return self.second - np.outer(self.mean, self.mean)


@dataclass
class LayerMoments:
    """Of what is seen of a layer's inputs, and of its outputs before bias and activation."""

    inputs: Moments = field(default_factory=Moments)
    outputs: Moments = field(default_factory=Moments)


def measure_moments(graph: Graph, layers: Mapping[str, See], data: Split, seed: int = 0) -> dict[str, LayerMoments]:
    """Run training inputs through a graph and return the moments of these layers, by name, over all their calls.

    256 samples are used; of large pictures, 4096 places of each batch.
    """
    sample = data.sample(_SAMPLES, seed)
    size = max(1, _BATCH_BYTES // sample.sample_bytes)
    generator = np.random.default_rng(seed)
    moments = {name: LayerMoments() for name in layers}

    def visit(node: Node, inputs: tuple[NDArray[Any], ...]) -> None:
        if node.name not in moments:
            return
        found = moments[node.name]
        rows = layers[node.name](node.operation, inputs[0])
        if rows is not None:
            found.inputs.add(_some(rows, generator))
        found.outputs.add(_some(_linear_outputs(node.operation, inputs[0]), generator))

    for start in range(0, len(sample), size):
        trace(graph, sample.take(slice(start, start + size)).inputs, visit)
    return moments


def _linear_outputs(layer: Any, inputs: NDArray[Any]) -> NDArray[Any]:
    """What a layer's kernel gives, ``(rows, outputs)``."""
    with _without_activation(layer):
        outputs = np.asarray(layer(keras.ops.convert_to_tensor(inputs)))
    if getattr(layer, "bias", None) is not None:
        outputs = outputs - np.asarray(layer.bias)
    if isinstance(layer, keras.layers.EinsumDense):
        return outputs_as_rows(layer, outputs)
    return outputs.reshape(-1, outputs.shape[-1])


@contextmanager
def _without_activation(layer: Any) -> Iterator[None]:
    activation = getattr(layer, "activation", None)
    if activation is None:
        yield
        return
    try:
        layer.activation = keras.activations.linear
        yield
    finally:
        layer.activation = activation


def _some(rows: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    if len(rows) <= _ROWS:
        return rows
    return rows[generator.choice(len(rows), _ROWS, replace=False)]
