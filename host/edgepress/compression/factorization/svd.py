"""Dense layers as products of two narrow ones, by singular value decomposition.

``x W + b`` with ``W`` of shape (m, n) becomes ``(x U) V + b`` with rank r; best in the least-squares sense for each r
(Eckart and Young 1936; for networks Xue et al. 2013). It pays where ``r < m n / (m + n)``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import NewLayer, rebuild, reconfigured
from edgepress.compression.recipe import FactorizeStep, Rank
from edgepress.compression.recovery import recover
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome

Matrix = NDArray[np.floating[Any]]


def factorize_dense(model: Any, settings: FactorizeStep, context: StepContext) -> StepOutcome:
    """Factorize each Dense layer that shrinks by it, and fine-tune."""
    replacements: dict[str, list[NewLayer]] = {}
    changed: list[Change] = []
    skipped: list[Skip] = []
    ranks: dict[str, int] = {}
    graph = read(model)
    for name, layer in graph.layers().items():
        if type(layer) is not keras.layers.Dense:
            if getattr(layer, "kernel", None) is not None:
                skipped.append(Skip(name, f"svd takes Dense layers; this is {type(layer).__name__}"))
            continue
        kernel = np.asarray(layer.kernel, np.float64)
        singular_values = np.linalg.svd(kernel, compute_uv=False)
        rank = rank_for(singular_values, kernel.shape[0], kernel.shape[1], settings.rank)
        rows, columns = kernel.shape
        if rank * (rows + columns) >= rows * columns:
            shrinks_below = rows * columns / (rows + columns)
            why = f"rank {rank} of {rows} x {columns} would not shrink it (less than {shrinks_below:.1f} would)"
            skipped.append(Skip(name, why))
            continue
        replacements[name] = factors(layer, rank, f"{name}_low_rank")
        ranks[name] = rank
        changed.append(Change(name, f"{rows} x {columns} -> {rows} x {rank} x {columns}"))
    if not replacements:
        note = "no layer was factorized: see what was skipped and why"
        return StepOutcome(model, context.conversion, (), tuple(skipped), (note,), choices={"ranks": ranks})
    tuned = recover(rebuild(graph, replacements), settings, context, "Fine-tuning the factorized model")
    notes = (tuned.summary, "ranks chosen by the weights, not measured on a device")
    return StepOutcome(tuned.model, context.conversion, tuple(changed), tuple(skipped), notes, choices={"ranks": ranks})


def rank_for(singular_values: Matrix, rows: int, columns: int, rank: Rank) -> int:
    """Return the number of singular values to keep, 1 to all of them.

    Args:
        singular_values: of the kernel, descending, ``(min(rows, columns),)``.
    """
    full = len(singular_values)
    if rank.fixed is not None:
        return min(rank.fixed, full)
    if rank.ratio is not None:
        return max(1, min(full, int(rank.ratio * rows * columns / (rows + columns))))
    assert rank.energy is not None
    energy = np.cumsum(np.square(singular_values))
    if energy[-1] == 0:
        return 1
    return min(full, int(np.searchsorted(energy / energy[-1], rank.energy)) + 1)


def factors(layer: Any, rank: int, first_name: str) -> list[NewLayer]:
    """Return the two layers that stand for a Dense layer at a rank: bias and activation stay on the second.

    The singular values are shared between both (their square roots), so that both train alike and quantize alike.
    """
    kernel = np.asarray(layer.kernel, np.float64)
    u, s, v = np.linalg.svd(kernel, full_matrices=False)
    root = np.sqrt(s[:rank])
    first = keras.layers.Dense(
        rank,
        use_bias=False,
        name=first_name,
        dtype=layer.dtype_policy,
        kernel_regularizer=layer.kernel_regularizer,
        trainable=layer.trainable,
    )
    second = reconfigured(layer)
    bias = layer.get_weights()[1:]
    return [
        NewLayer(first, [(u[:, :rank] * root).astype(np.float32)]),
        NewLayer(second, [(root[:, None] * v[:rank]).astype(np.float32), *bias]),
    ]
