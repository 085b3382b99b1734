"""A convolution as three: 1x1 to fewer channels, the kernel among these, and 1x1 to all channels again.

Tucker decomposition over both axes of channels, by truncated higher-order SVD (Tucker-2: Kim et al. 2016, "Compression
of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications"). With data the directions that are
kept are those of the layer's outputs, and for inputs those that matter under their second moments.
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
    bias_of,
    projection,
    root_of,
    weighted_gram,
)
from edgepress.compression.factorization.svd import thin
from edgepress.compression.graph.rebuild import NewLayer, reconfigured


class Tucker2(Decomposition):
    """Conv1D, Conv2D and Conv3D with a kernel of more than one place, without groups. Ranks: of inputs, of outputs."""

    @staticmethod
    def see(layer: Any, inputs: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG004
        """Channels of single places."""
        return inputs.reshape(-1, inputs.shape[-1])

    def _decompose(self) -> None:
        self._kernel = np.asarray(self.layer.kernel, np.float64)
        channels = self._kernel.shape[-2]
        by_inputs, by_outputs = self.unfoldings()
        self._mean: Matrix | None = None
        root = np.eye(channels)
        energy = None
        if self.moments is not None:
            root = root_of(self.moments.inputs.second)
            absorbs = bool(bias_of(self.layer))
            energy = self.moments.outputs.covariance if absorbs else self.moments.outputs.second
            self._mean = self.moments.outputs.mean if absorbs else None
        weighted = root @ by_inputs
        input_values, input_vectors = np.linalg.eigh(weighted @ weighted.T)
        directions = input_vectors[:, ::-1]
        self._into = np.linalg.solve(root, directions)  # from all channels to directions
        self._back = directions.T @ root  # and from these to all channels
        output_values, self._vectors = projection(by_outputs, weighted_gram(by_outputs, energy))
        self.eigenvalues = (np.maximum(input_values[::-1], 0.0)[: by_inputs.shape[1]], output_values)
        self.whole = LayerCost.of([(self._kernel.shape, self.places())])

    def cost(self, ranks: Ranks) -> LayerCost:
        inputs, outputs = ranks
        *size, channels, filters = self._kernel.shape
        behind = self.places()
        return LayerCost.of(
            [
                ((channels, inputs), self.places(given=True)),
                ((*size, inputs, outputs), behind),
                ((outputs, filters), behind),
            ]
        )

    def unfoldings(self) -> tuple[Matrix, ...]:
        channels, filters = self._kernel.shape[-2:]
        by_inputs = np.moveaxis(self._kernel, -2, 0).reshape(channels, -1)
        return by_inputs, self._kernel.reshape(-1, filters)

    def describe(self, ranks: Ranks) -> str:
        *size, channels, filters = self._kernel.shape
        kernel = "x".join(map(str, size))
        return f"{kernel}, {channels} -> {filters}: 1x1 to {ranks[0]}, {kernel} to {ranks[1]}, 1x1 to {filters}"

    def layers(self, ranks: Ranks) -> list[NewLayer]:
        inputs, outputs = ranks
        layer = self.layer
        ones = (1,) * len(layer.kernel_size)
        into, back, vectors = self._into[:, :inputs], self._back[:inputs], self._vectors[:, :outputs]
        lengths = np.linalg.norm(into, axis=0)
        core = np.einsum("is,...st,to->...io", lengths[:, None] * back, self._kernel, vectors, optimize=True)
        bias = bias_of(layer)
        if self._mean is not None:
            bias = [bias[0] + self._mean - (self._mean @ vectors) @ vectors.T]
        pointwise = {"kernel_size": ones, "strides": ones, "dilation_rate": ones, "padding": "valid"}
        return [
            NewLayer(
                thin(layer, f"{self._prefix}_low_rank", filters=inputs, **pointwise),
                as_weights((into / lengths).reshape(*ones, *into.shape)),
            ),
            NewLayer(thin(layer, f"{self._prefix}_core", filters=outputs), as_weights(core)),
            NewLayer(
                reconfigured(layer, name=self.node.name, **pointwise),
                as_weights(vectors.T.reshape(*ones, *vectors.T.shape), *bias),
            ),
        ]
