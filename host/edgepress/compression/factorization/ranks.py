"""How many directions each layer keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.factorization.decomposition import Decomposition, LayerCost, Matrix, Ranks
from edgepress.compression.recipe import Rank

_LEAST, _LARGEST_SHARE = 8, 0.8  # of what EVBMF says: it collapses to 1 where a kernel looks like noise
_HALVINGS = 60


def rank_by(decomposition: Decomposition, rule: Rank) -> Ranks:
    """Return the ranks of one layer by ``energy``, ``ratio``, ``fixed`` or ``evbmf``."""
    path = decomposition.path
    if rule.fixed is not None:
        return tuple(min(rule.fixed, full) for full in decomposition.full)
    if rule.ratio is not None:
        budget = rule.ratio * decomposition.whole.parameters
        fitting = [ranks for ranks in path if decomposition.cost(ranks).parameters <= budget]
        return fitting[-1] if fitting else path[0]
    if rule.energy is not None:
        enough = np.flatnonzero(decomposition.losses <= 1 - rule.energy + 1e-12)
        return path[enough[0]] if len(enough) else path[-1]
    return tuple(map(evbmf_rank, decomposition.unfoldings()))


def ranks_within(
    decompositions: Mapping[str, Decomposition], spare: float, measure: str
) -> tuple[dict[str, Ranks | None], bool]:
    """Return ranks for all layers that lose least together within a budget, None for those that are left whole, and
    whether the budget was met.

    What is lost is the sum of the layers' shares (:meth:`Decomposition.lost`). Each layer takes the ranks at which its
    loss and the price of its cost are least, and the price is raised until the budget is met (Lagrangian relaxation,
    as Shoham and Gersho 1988 allocate bits).

    Args:
        spare: what these layers may cost together.
        measure: ``parameters`` or ``macs``, a field of :class:`LayerCost`.
    """

    def cost_of(cost: LayerCost) -> int:
        return int(getattr(cost, measure))

    options: dict[str, list[Ranks | None]] = {}
    losses: dict[str, NDArray[np.float64]] = {}
    costs: dict[str, NDArray[np.float64]] = {}
    for name, one in decompositions.items():
        smaller = {ranks: loss for ranks, loss in zip(one.path, one.losses, strict=True) if one.shrinks(ranks)}
        options[name] = [None, *smaller]
        losses[name] = np.array([0.0, *smaller.values()])
        costs[name] = np.array([cost_of(one.whole), *(cost_of(one.cost(ranks)) for ranks in smaller)], np.float64)

    def chosen(price: float) -> dict[str, int]:
        return {name: int(np.argmin(losses[name] + price * costs[name])) for name in options}

    def total(choice: Mapping[str, int]) -> float:
        return float(sum(costs[name][index] for name, index in choice.items()))

    low, high = 0.0, 1e6  # a price per weight or multiplication at which nothing but cost counts
    for _ in range(_HALVINGS):
        price = math.sqrt(max(low, 1e-15) * high)
        low, high = (low, price) if total(chosen(price)) <= spare else (price, high)
    choice = chosen(high)
    return {name: options[name][index] for name, index in choice.items()}, total(choice) <= spare


def evbmf_rank(matrix: Matrix) -> int:
    """Return how many singular values of a matrix stand out of noise, at least 8 and at most 0.8 of them.

    Empirical variational Bayesian matrix factorization with the noise estimated: Nakajima et al. 2013, "Global Analytic
    Solution of Fully-observed Variational Bayesian Matrix Factorization", equations 14 to 19.
    """
    short, long = sorted(matrix.shape)
    gram = matrix @ matrix.T if matrix.shape[0] == short else matrix.T @ matrix
    squares = np.maximum(np.linalg.eigvalsh(gram)[::-1], 1e-30)
    alpha = short / long
    tau_bar = 2.5129 * math.sqrt(alpha)
    edge = (1 + tau_bar) * (1 + alpha / tau_bar)
    tail = squares[min(math.ceil(short / (1 + alpha)) - 1, short - 1) :]
    lowest = max(tail[0] / (long * edge), tail.mean() / long)
    noises = np.geomspace(lowest, max(squares.sum() / (short * long), lowest * (1 + 1e-9)), 512)
    noise: float = min(noises, key=lambda one: _free_energy(squares / (long * one), alpha, edge))
    rank = int((squares > long * noise * edge).sum())
    largest = max(1, int(_LARGEST_SHARE * short))
    return min(max(rank, _LEAST), largest)


def _free_energy(x: Matrix, alpha: float, edge: float) -> float:
    """Of squared singular values in units of the noise, but for a constant."""
    signal, rest = x[x > edge], x[x <= edge]
    centre = signal - (1 + alpha)
    tau = 0.5 * (centre + np.sqrt(centre**2 - 4 * alpha))
    energy = np.sum(rest - np.log(rest)) + np.sum(signal - tau + np.log((tau + 1) / signal))
    return float(energy + alpha * np.sum(np.log(tau / alpha + 1)))
