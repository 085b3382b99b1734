"""What every decomposition of a layer has in common: what it costs at each rank, what it loses, and its new layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.factorization.moments import LayerMoments
from edgepress.compression.graph.reader import Graph, Node, Shape
from edgepress.compression.graph.rebuild import NewLayer

Matrix = NDArray[np.float64]
Ranks = tuple[int, ...]

_LEAST_ENERGY = 1e-3  # of the mean direction: what the data say nothing of is still worth that much


@dataclass(frozen=True)
class LayerCost:
    """Weights (without biases) and multiply-accumulates of one inference, over all calls of a layer."""

    parameters: int
    macs: int

    @classmethod
    def of(cls, kernels: Sequence[tuple[Sequence[int], int]]) -> LayerCost:
        """Sum up kernels, each a shape and the number of places at which it is multiplied."""
        sizes = [(math.prod(shape), places) for shape, places in kernels]
        return cls(sum(size for size, _ in sizes), sum(size * places for size, places in sizes))


@dataclass(frozen=True, eq=False)
class Call:
    """Shapes in and out of one call of a layer, with the batch."""

    given: Shape
    made: Shape


class Decomposition(ABC):
    """One layer as a chain of smaller ones.

    Attributes:
        node: of the layer's first call.
        calls: shapes of all calls.
        moments: of what flows through the layer on data; None: its weights alone decide.
        eigenvalues: for each rank, the squared singular values that it cuts, descending, where ranks are nested.
        whole: what the layer costs as it is.
        by_data: whether moments have a say.
    """

    by_data: ClassVar[bool] = True
    node: Node
    calls: tuple[Call, ...]
    moments: LayerMoments | None
    eigenvalues: tuple[Matrix, ...]
    whole: LayerCost

    def __init__(self, graph: Graph, node: Node, moments: LayerMoments | None) -> None:
        self.node = node
        self.moments = moments
        self.calls = tuple(
            Call(graph.shape_of(call.inputs[0]), call.output_shapes[0]) for call in graph.calls(node.name)
        )
        self._prefix = _free_prefix(node.name, graph)
        self._decompose()

    @property
    def layer(self) -> Any:
        """The layer, which belongs to the model that was read: not to be changed."""
        return self.node.operation

    @staticmethod
    def see(layer: Any, inputs: NDArray[Any]) -> NDArray[Any] | None:  # noqa: ARG004
        """Return rows of a layer's inputs whose moments it is decomposed by; None: those of its outputs will do."""
        return None

    @abstractmethod
    def _decompose(self) -> None:
        """Set ``eigenvalues`` and ``whole``, and whatever :meth:`layers` needs."""

    @abstractmethod
    def cost(self, ranks: Ranks) -> LayerCost:
        """Return what the chain costs at these ranks."""

    @abstractmethod
    def layers(self, ranks: Ranks) -> list[NewLayer]:
        """Return the chain at these ranks. The last layer has the old one's name, bias and activation."""

    @abstractmethod
    def unfoldings(self) -> tuple[Matrix, ...]:
        """Return the kernel as a matrix, once for each rank: what its singular values are to be judged by as they are,
        without data."""

    @abstractmethod
    def describe(self, ranks: Ranks) -> str:
        """Say what becomes of the layer at these ranks: ``256 x 24 -> 256 x 4 x 24``."""

    @property
    def full(self) -> Ranks:
        """The ranks at which nothing is lost."""
        return tuple(map(len, self.eigenvalues))

    def shrinks(self, ranks: Ranks) -> bool:
        """Whether the chain has fewer weights than the layer, and no more multiplications where the layer has any."""
        cost = self.cost(ranks)
        return cost.parameters < self.whole.parameters and (cost.macs < self.whole.macs or not self.whole.macs)

    def lost(self, ranks: Ranks) -> float:
        """Return the share of the squared singular values that is cut: of the layer's output on data, or of its
        kernel. With several ranks their sum, which is what is lost at most."""
        shares = (
            values[rank:].sum() / total
            for values, rank in zip(self.eigenvalues, ranks, strict=True)
            if (total := values.sum())
        )
        return float(min(1.0, sum(shares)))

    @cached_property
    def losses(self) -> Matrix:
        """What is lost at each step of the path."""
        return np.array([self.lost(ranks) for ranks in self.path])

    def places(self, *, given: bool = False) -> int:
        """Return at how many places of its outputs (or inputs) a convolution is taken, over all its calls."""
        shapes = [call.given if given else call.made for call in self.calls]
        return sum(math.prod(size or 1 for size in shape[1:-1]) for shape in shapes)

    @cached_property
    def path(self) -> tuple[Ranks, ...]:
        """Ranks from the smallest to the full ones: each step takes in what is worth most of what was left out."""
        gains = sorted(
            (-value / (values.sum() or 1.0), rank, mode)
            for mode, values in enumerate(self.eigenvalues)
            for rank, value in enumerate(values)
            if rank > 0
        )
        ranks = [1] * len(self.eigenvalues)
        path = [tuple(ranks)]
        for _, _, mode in gains:
            ranks[mode] += 1
            path.append(tuple(ranks))
        return tuple(path)


def root_of(second: Matrix) -> Matrix:
    """Return the symmetric square root of second moments, with none so small that it could not be divided by."""
    values, vectors = np.linalg.eigh(second)
    least = max(_LEAST_ENERGY * float(values.mean()), 1e-30)
    root: Matrix = (vectors * np.sqrt(np.maximum(values, 0.0) + least)) @ vectors.T
    return root


def weighted_gram(matrix: Matrix, energy: Matrix | None) -> Matrix:
    """Return the Gram matrix ``(columns, columns)`` of a kernel's outputs on data, by what it is without data.

    Args:
        matrix: the kernel, ``(inputs, outputs)``.
        energy: second moments of the outputs; None: as if inputs were white.
    """
    white: Matrix = matrix.T @ matrix
    if energy is None or not np.trace(energy) > 0 or not np.trace(white) > 0:
        return white
    share: float = _LEAST_ENERGY * np.trace(energy) / np.trace(white)
    return energy + share * white


def projection(matrix: Matrix, gram: Matrix) -> tuple[Matrix, Matrix]:
    """Return ``(eigenvalues, vectors)`` such that ``matrix @ vectors[:, :r] @ vectors[:, :r].T`` is, of all matrices of
    rank r, the nearest to ``matrix`` by the outputs that ``gram`` belongs to. Descending, ``min(matrix.shape)`` many.

    Rows of ``matrix`` span what its outputs can be, so that a wide one is solved in as many dimensions as it has rows.
    """
    rows, columns = matrix.shape
    if rows < columns:
        basis, _ = np.linalg.qr(matrix.T)
        values, vectors = np.linalg.eigh(basis.T @ gram @ basis)
        vectors = basis @ vectors
    else:
        values, vectors = np.linalg.eigh(gram)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def balanced(matrix: Matrix, vectors: Matrix) -> tuple[Matrix, Matrix]:
    """Return the factors of ``matrix @ vectors @ vectors.T``, the first one's columns as long as the second one's rows:
    both then train and quantize alike."""
    first = matrix @ vectors
    lengths = np.sqrt(np.linalg.norm(first, axis=0))
    lengths = np.maximum(lengths, 1e-6 * max(lengths.max(initial=0.0), 1e-30))
    return first / lengths, lengths[:, None] * vectors.T


def as_weights(*arrays: Matrix) -> list[NDArray[np.float32]]:
    """Return arrays in the precision of weights."""
    return [array.astype(np.float32) for array in arrays]


def bias_of(layer: Any) -> list[Matrix]:
    """Return a layer's bias, if it has one."""
    bias = getattr(layer, "bias", None)
    return [] if bias is None else [np.asarray(bias, np.float64)]


def shown(ranks: Ranks) -> str:
    """Return ranks for a sentence."""
    return ", ".join(map(str, ranks))


def _free_prefix(name: str, graph: Graph) -> str:
    """What new layers are called by: the layer's name, with a number where it was factorized before."""
    taken = [node.name for node in graph.nodes]
    prefix, number = name, 1
    while f"{prefix}_low_rank" in taken:
        number += 1
        prefix = f"{name}_{number}"
    return prefix
