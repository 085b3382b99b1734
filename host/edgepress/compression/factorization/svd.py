"""A layer as a product of two narrow ones, by singular value decomposition.

``x W + b`` with ``W`` of shape (m, n) becomes ``(x U) V + b`` with rank r (Eckart and Young 1936; for networks Xue et
al. 2013), and pays where ``r < m n / (m + n)``. ``W`` is the kernel of a Dense or EinsumDense layer, the table of an
Embedding, or the kernel of a convolution with all that one place sees as its rows: a convolution to r channels and a
1x1 convolution (Zhang et al. 2015, "Accelerating Very Deep Convolutional Networks").

With data the outputs are kept and not the kernel: the best r directions of ``x W`` are principal components of the
outputs, which is the SVD of ``C^(1/2) W`` for inputs with second moments ``C``. Their mean goes into the bias.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from edgepress.compression.factorization.decomposition import (
    Decomposition,
    LayerCost,
    Matrix,
    Ranks,
    as_weights,
    balanced,
    bias_of,
    projection,
    weighted_gram,
)
from edgepress.compression.factorization.einsum import Equation
from edgepress.compression.graph.rebuild import NewLayer, reconfigured

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


class Svd(Decomposition):
    """Dense, EinsumDense, Embedding, and convolutions of any size without groups."""

    def _decompose(self) -> None:
        self._matrix = _matrix_of(self.layer)
        self._mean: Matrix | None = None
        energy = None
        if self.moments is not None:
            outputs = self.moments.outputs
            absorbs = type(self.layer) is not keras.layers.EinsumDense and bool(bias_of(self.layer))
            energy = outputs.covariance if absorbs else outputs.second
            self._mean = outputs.mean if absorbs else None
        values, self._vectors = projection(self._matrix, weighted_gram(self._matrix, energy))
        self.eigenvalues = (values,)
        self.whole = LayerCost.of([((self._matrix.size,), 0 if self._looks_up else self._places)])

    @property
    def _looks_up(self) -> bool:
        return type(self.layer) is keras.layers.Embedding

    @property
    def _places(self) -> int:
        """At how many places the kernel is multiplied."""
        outputs = self._matrix.shape[1]
        return sum(math.prod(size or 1 for size in call.made[1:]) // outputs for call in self.calls)

    def cost(self, ranks: Ranks) -> LayerCost:
        rows, columns = self._matrix.shape
        places = self._places
        return LayerCost.of([((rows, *ranks), 0 if self._looks_up else places), ((*ranks, columns), places)])

    def unfoldings(self) -> tuple[Matrix, ...]:
        return (self._matrix,)

    def describe(self, ranks: Ranks) -> str:
        rows, columns = self._matrix.shape
        return f"{rows} x {columns} -> {rows} x {ranks[0]} x {columns}"

    def layers(self, ranks: Ranks) -> list[NewLayer]:
        (rank,) = ranks
        vectors = self._vectors[:, :rank]
        first, second = balanced(self._matrix, vectors)
        bias = bias_of(self.layer)
        if self._mean is not None:
            bias = [bias[0] + self._mean - (self._mean @ vectors) @ vectors.T]
        shapes = _pair(self.layer, rank, f"{self._prefix}_low_rank", self.node.name)
        weights = [as_weights(first), as_weights(second, *bias)]
        return [
            NewLayer(layer, [one.reshape(shape) for one, shape in zip(given, wanted, strict=True)])
            for (layer, wanted), given in zip(shapes, weights, strict=True)
        ]


def thin(layer: Any, name: str, **changes: Any) -> Any:
    """Return a layer like another for the front of its chain: without bias and activation, and what judges these."""
    known = layer.get_config()
    bare = {"use_bias": False, "activation": "linear", "activity_regularizer": None, "kernel_constraint": None}
    bare["embeddings_constraint"] = None
    return reconfigured(layer, name=name, **{key: value for key, value in bare.items() if key in known}, **changes)


def _matrix_of(layer: Any) -> Matrix:
    if type(layer) is keras.layers.EinsumDense:
        equation = Equation.of(layer)
        assert equation is not None
        return equation.as_matrix(np.asarray(layer.kernel))
    weights = layer.embeddings if type(layer) is keras.layers.Embedding else layer.kernel
    return np.asarray(weights, np.float64).reshape(-1, weights.shape[-1])


def _pair(layer: Any, rank: int, first: str, last: str) -> list[tuple[Any, list[tuple[int, ...]]]]:
    """Both layers, and the shapes of their weights."""
    bias = [tuple(one.shape) for one in bias_of(layer)]
    kind = type(layer)
    if kind is keras.layers.Dense:
        rows, columns = layer.kernel.shape
        return [
            (thin(layer, first, units=rank), [(rows, rank)]),
            (reconfigured(layer, name=last), [(rank, columns), *bias]),
        ]
    if kind is keras.layers.Embedding:
        rows, columns = layer.embeddings.shape
        last_layer = keras.layers.Dense(
            columns, use_bias=False, name=last, dtype=layer.dtype_policy, trainable=layer.trainable
        )
        return [(thin(layer, first, output_dim=rank), [(rows, rank)]), (last_layer, [(rank, columns)])]
    if kind is keras.layers.EinsumDense:
        equation = Equation.of(layer)
        assert equation is not None
        between, into, out = equation.halves()
        sizes = equation.sizes(np.asarray(layer.kernel))
        batch = 0 if between.startswith("...") else 1
        made = [None] * (len(between.replace("...", "")) - 1 - batch) + [rank]
        return [
            (
                thin(layer, first, equation=into, output_shape=tuple(made), bias_axes=None),
                [(*(sizes[letter] for letter in equation.summed), rank)],
            ),
            (
                reconfigured(layer, name=last, equation=out),
                [(rank, *(sizes[letter] for letter in equation.outputs)), *bias],
            ),
        ]
    ones = (1,) * len(layer.kernel_size)
    *seen, columns = layer.kernel.shape
    return [
        (thin(layer, first, filters=rank), [(*seen, rank)]),
        (
            reconfigured(layer, name=last, kernel_size=ones, strides=ones, dilation_rate=ones, padding="valid"),
            [(*ones, rank, columns), *bias],
        ),
    ]
