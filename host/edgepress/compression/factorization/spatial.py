"""A k x k convolution as a k x 1 and a 1 x k convolution (Jaderberg et al. 2014; Tai et al. 2016).

The kernel ``(h, w, s, t)`` as a matrix ``(h s, w t)`` of rank r: each half has its own axis of stride, padding and
dilation. With data its rows are weighted by the second moments of what the first half sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from edgepress.compression.factorization.svd import thin
from edgepress.compression.graph.rebuild import NewLayer, reconfigured


class SpatialSvd(Decomposition):
    """Conv2D with a kernel of more than one row and column, without groups."""

    @staticmethod
    def see(layer: Any, inputs: NDArray[Any]) -> NDArray[Any]:
        """What the first half sees: columns of places, in the order of its weights."""
        reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0] + 1
        around = reach // 2 if layer.padding == "same" else 0
        padded = np.pad(inputs, [(0, 0), (around, around), (0, 0), (0, 0)])
        columns = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)[..., :: layer.dilation_rate[0]]
        return np.moveaxis(columns, -1, -2).reshape(-1, layer.kernel_size[0] * inputs.shape[-1])

    def _decompose(self) -> None:
        kernel = np.asarray(self.layer.kernel, np.float64)
        self._sizes = kernel.shape
        height, width, channels, filters = kernel.shape
        rows = kernel.transpose(0, 2, 1, 3)  # (h, s, w, t)
        self._matrix = rows.reshape(height * channels, width * filters)
        energy = None
        if self.moments is not None:
            energy = self._matrix.T @ self.moments.inputs.second @ self._matrix
        values, self._vectors = projection(self._matrix, weighted_gram(self._matrix, energy))
        self.eigenvalues = (values,)
        self.whole = LayerCost.of([(kernel.shape, self.places())])

    def cost(self, ranks: Ranks) -> LayerCost:
        height, width, channels, filters = self._sizes
        (rank,) = ranks
        kernels = []
        for call in self.calls:
            down, across, before = call.made[1] or 1, call.made[2] or 1, call.given[2] or 1
            kernels += [((height, channels, rank), down * before), ((width, rank, filters), down * across)]
        return LayerCost.of(kernels)

    def unfoldings(self) -> tuple[Matrix, ...]:
        return (self._matrix,)

    def describe(self, ranks: Ranks) -> str:
        height, width, channels, filters = self._sizes
        return f"{height}x{width}, {channels} -> {filters}: {height}x1 to {ranks[0]}, 1x{width} to {filters}"

    def layers(self, ranks: Ranks) -> list[NewLayer]:
        (rank,) = ranks
        height, width, channels, filters = self._sizes
        layer = self.layer
        first, second = balanced(self._matrix, self._vectors[:, :rank])
        (down, across), (high, wide) = layer.strides, layer.dilation_rate
        return [
            NewLayer(
                thin(
                    layer,
                    f"{self._prefix}_low_rank",
                    filters=rank,
                    kernel_size=(height, 1),
                    strides=(down, 1),
                    dilation_rate=(high, 1),
                ),
                as_weights(first.reshape(height, 1, channels, rank)),
            ),
            NewLayer(
                reconfigured(
                    layer,
                    name=self.node.name,
                    kernel_size=(1, width),
                    strides=(1, across),
                    dilation_rate=(1, wide),
                ),
                as_weights(second.reshape(1, rank, width, filters).transpose(0, 2, 1, 3), *bias_of(layer)),
            ),
        ]
