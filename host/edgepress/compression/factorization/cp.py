"""A convolution as three: 1x1 to r channels, a depthwise one, and 1x1 to all channels again.

Canonical polyadic (CP) decomposition of the kernel over places, input and output channels, by alternating least squares
(Lebedev et al. 2015 for networks; with one depthwise kernel in place of two, Astrid and Lee 2017). Data have no say: to
weight by the moments of channels and places helped one network and harmed another. Ranks are not nested as singular
values are: each is a fit of its own, and what is lost between those that were fitted is interpolated.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import keras
import numpy as np

from edgepress.compression.factorization.decomposition import (
    Decomposition,
    LayerCost,
    Matrix,
    Ranks,
    as_weights,
    bias_of,
)
from edgepress.compression.factorization.svd import thin
from edgepress.compression.graph.rebuild import NewLayer, reconfigured

_ROUNDS = 40
_RIDGE = 1e-7  # of the mean of the normal equations' diagonal: components that cancel each other stay finite
_FITTED = 6  # ranks, for what the others lose

Factors = tuple[Matrix, Matrix, Matrix]
"""Of places, input channels and output channels: ``(size, rank)`` each."""


class Cp(Decomposition):
    """Conv1D and Conv2D with a kernel of more than one place, without groups, whose strides are one number."""

    by_data = False

    @staticmethod
    def fits(layer: Any) -> bool:
        """Whether there is a depthwise layer for its kernel."""
        alike = len(set(layer.strides)) == 1 and len(set(layer.dilation_rate)) == 1
        return len(layer.kernel_size) < 3 and alike and layer.padding in ("valid", "same")

    def _decompose(self) -> None:
        self._shape = self.layer.kernel.shape
        *size, channels, filters = self._shape
        self._kernel = np.asarray(self.layer.kernel, np.float64).reshape(math.prod(size), channels, filters)
        self._fits: dict[int, tuple[Factors, float]] = {}
        self.whole = LayerCost.of([(self._shape, self.places())])

    def cost(self, ranks: Ranks) -> LayerCost:
        (rank,) = ranks
        *size, channels, filters = self._shape
        behind = self.places()
        return LayerCost.of(
            [((channels, rank), self.places(given=True)), ((*size, rank), behind), ((rank, filters), behind)]
        )

    def unfoldings(self) -> tuple[Matrix, ...]:
        return (self._kernel.reshape(-1, self._shape[-1]),)

    def describe(self, ranks: Ranks) -> str:
        *size, channels, filters = self._shape
        kernel = "x".join(map(str, size))
        return f"{kernel}, {channels} -> {filters}: 1x1 to {ranks[0]}, {kernel} depthwise, 1x1 to {filters}"

    @property
    def full(self) -> Ranks:
        places, channels, filters = self._kernel.shape
        return (min(places * channels, places * filters, channels * filters),)

    @cached_property
    def path(self) -> tuple[Ranks, ...]:
        """All ranks that make the layer smaller, and the next."""
        (full,) = self.full
        largest = next((rank for rank in range(1, full + 1) if not self.shrinks((rank,))), full)
        return tuple((rank,) for rank in range(1, largest + 1))

    @cached_property
    def losses(self) -> Matrix:
        fitted = np.unique(np.geomspace(1, len(self.path), _FITTED).round().astype(int))
        return np.interp(np.arange(1, len(self.path) + 1), fitted, [self.lost((int(rank),)) for rank in fitted])

    def lost(self, ranks: Ranks) -> float:
        return self._fit(ranks[0])[1]

    def layers(self, ranks: Ranks) -> list[NewLayer]:
        (rank,) = ranks
        places, inputs, outputs = _alike(*self._fit(rank)[0])
        layer = self.layer
        *size, _channels, _filters = self._shape
        ones = (1,) * len(size)
        pointwise = {"kernel_size": ones, "strides": ones, "dilation_rate": ones, "padding": "valid"}
        depthwise = keras.layers.DepthwiseConv1D if len(size) == 1 else keras.layers.DepthwiseConv2D
        middle = depthwise(
            layer.kernel_size,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            use_bias=False,
            name=f"{self._prefix}_core",
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
        )
        return [
            NewLayer(
                thin(layer, f"{self._prefix}_low_rank", filters=rank, **pointwise),
                as_weights(inputs.reshape(*ones, *inputs.shape)),
            ),
            NewLayer(middle, as_weights(places.reshape(*size, rank, 1))),
            NewLayer(
                reconfigured(layer, name=self.node.name, **pointwise),
                as_weights(outputs.T.reshape(*ones, rank, -1), *bias_of(layer)),
            ),
        ]

    def _fit(self, rank: int) -> tuple[Factors, float]:
        """The factors of a rank, and the share of the kernel's squares that they lose."""
        if rank not in self._fits:
            if rank >= self.full[0]:
                self._fits[rank] = _exactly(self._kernel), 0.0
            else:
                self._fits[rank] = _by_least_squares(self._kernel, rank)
        return self._fits[rank]


def _by_least_squares(kernel: Matrix, rank: int) -> tuple[Factors, float]:
    """Fit ``kernel[p, s, t]`` by ``sum over r of a[p, r] b[s, r] c[t, r]``, beginning from the singular vectors."""
    size, _, filters = kernel.shape
    whole = kernel.astype(np.float32)  # what is multiplied with it is solved for in double precision
    turned = np.ascontiguousarray(whole.transpose(0, 2, 1))
    places = np.random.default_rng(0).normal(size=(size, rank))
    outputs = _first_vectors(kernel.reshape(-1, filters), rank)
    energy = float(np.square(kernel).sum())
    left = energy
    for _ in range(_ROUNDS):
        seen = (whole @ outputs.astype(np.float32)).astype(np.float64)  # (p, s, r)
        inputs = _solved(np.einsum("psr,pr->sr", seen, places), places, outputs)
        inputs /= np.maximum(np.linalg.norm(inputs, axis=0), 1e-30)
        places = _solved(np.einsum("psr,sr->pr", seen, inputs), inputs, outputs)
        places /= np.maximum(np.linalg.norm(places, axis=0), 1e-30)
        seen = (turned @ inputs.astype(np.float32)).astype(np.float64)  # (p, t, r)
        wanted = np.einsum("ptr,pr->tr", seen, places)
        outputs = _solved(wanted, places, inputs)
        products = (outputs.T @ outputs) * (places.T @ places) * (inputs.T @ inputs)
        left = energy - 2 * float((outputs * wanted).sum()) + float(products.sum())
    return (places, inputs, outputs), min(1.0, max(0.0, left / energy)) if energy else 0.0


def _first_vectors(matrix: Matrix, count: int) -> Matrix:
    """Right singular vectors, and random ones where there are too few."""
    _, vectors = np.linalg.eigh(matrix.T @ matrix)
    known = vectors[:, ::-1][:, :count]
    rest = np.random.default_rng(1).normal(size=(len(vectors), count - known.shape[1]))
    return np.concatenate([known, rest], axis=1)


def _solved(seen: Matrix, one: Matrix, other: Matrix) -> Matrix:
    """The third factor that fits best to the other two."""
    gram = (one.T @ one) * (other.T @ other)
    gram += max(_RIDGE * np.trace(gram) / len(gram), 1e-30) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram, seen.T).T, np.float64)


def _exactly(kernel: Matrix) -> Factors:
    """The kernel in as many components as the smaller two of its sizes have pairs."""
    sizes = kernel.shape
    largest = int(np.argmax(sizes))
    one, other = (axis for axis in range(3) if axis != largest)
    factors: list[Matrix] = [np.empty(0)] * 3
    factors[one] = np.repeat(np.eye(sizes[one]), sizes[other], axis=1)
    factors[other] = np.tile(np.eye(sizes[other]), sizes[one])
    factors[largest] = np.moveaxis(kernel, largest, 0).reshape(sizes[largest], -1)
    return factors[0], factors[1], factors[2]


def _alike(*factors: Matrix) -> list[Matrix]:
    """The same components, each as large in all three factors."""
    lengths = [np.maximum(np.linalg.norm(factor, axis=0), 1e-30) for factor in factors]
    length = np.cbrt(lengths[0] * lengths[1] * lengths[2])
    return [factor / own * length for factor, own in zip(factors, lengths, strict=True)]
