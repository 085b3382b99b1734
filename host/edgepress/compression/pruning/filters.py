"""Structured pruning: whole filters are removed, and with them what other layers did with their channels.

Importance of a filter is the L2 norm of its weights (He et al. 2018, "Soft Filter Pruning"; Li et al. 2017 take L1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, read
from edgepress.compression.graph.rebuild import NewLayer, rebuild, reconfigured
from edgepress.compression.pruning.chains import DEPTHWISE, Chain, find_chains
from edgepress.compression.recipe import PruneStep
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.training.batchnorm import reestimate_batchnorm
from edgepress.training.fit import fine_tune

Indices = NDArray[np.int64]

_SMALLEST_MULTIPLE = 4  # one SIMD register of float32; fewer filters than this are not worth removing


def prune_filters(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Remove the filters of least importance from plain chains, re-estimate BatchNorm and fine-tune."""
    assert settings.round_to is not None  # filled in by the recipe for this structure
    graph = read(model)
    chains, skipped = find_chains(graph)
    keep, changed, too_small = _choose(chains, settings.sparsity, settings.round_to)
    pruned = reestimate_batchnorm(remove_filters(graph, chains, keep), context.data.train, context.seed)
    tuned = fine_tune(
        pruned,
        context.data,
        context.objective,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=context.seed,
        progress=context.progress,
        description="Fine-tuning the pruned model",
    )
    notes = [tuned.summary]
    if not changed:
        notes.append("no filter was removed: see what was skipped and why")
    return StepOutcome(
        tuned.model,
        context.conversion,
        changed,
        (*skipped, *too_small),
        tuple(notes),
        choices={"filters": {name: len(indices) for name, indices in keep.items()}},
    )


def importance(layer: Any) -> NDArray[np.float32]:
    """Return the L2 norm of each filter of a convolution, ``(filters,)``."""
    kernel = np.asarray(layer.kernel, np.float32)
    return np.asarray(np.sqrt(np.square(kernel).reshape(-1, kernel.shape[-1]).sum(axis=0)), np.float32)


def kept_count(filters: int, sparsity: float, round_to: int) -> int:
    """Return how many filters stay: the multiple of ``round_to`` nearest to ``(1 - sparsity) * filters``.

    Where that multiple would be none or all of them, a multiple of 4 is taken instead; kernels work on 4 or 8 channels
    at a time, and one channel more than a multiple costs as much as a whole one.
    """
    wanted = (1 - sparsity) * filters
    for multiple in (round_to, _SMALLEST_MULTIPLE):
        count = round(wanted / multiple) * multiple
        if 0 < count < filters:
            return count
    return min(filters, _SMALLEST_MULTIPLE) if wanted < _SMALLEST_MULTIPLE else filters


def remove_filters(graph: Graph, chains: tuple[Chain, ...], keep: Mapping[str, Indices]) -> Any:
    """Return the model without the filters that are not in ``keep``.

    It computes what the graph computes with those filters' weights, biases and BatchNorm gamma, beta and mean at zero.

    Args:
        keep: by name of a chain's convolution, the filters that stay, ascending; chains that are not in it stay whole.
    """
    inputs: dict[str, Indices] = {}  # by layer: which indices of its input's last axis stay
    outputs: dict[str, Indices] = {}  # by convolution: which filters stay
    nodes: dict[str, Node] = {}
    for chain in chains:
        kept = keep.get(chain.producer.name)
        if kept is None:
            continue
        outputs[chain.producer.name] = kept
        nodes[chain.producer.name] = chain.producer
        for node, channels in (*chain.between, chain.consumer):
            inputs[node.name] = np.flatnonzero(np.isin(channels, kept))
            nodes[node.name] = node
    return rebuild(
        graph,
        {name: [_sliced(node.operation, inputs.get(name), outputs.get(name))] for name, node in nodes.items()},
    )


def _sliced(layer: Any, inputs: Indices | None, outputs: Indices | None) -> NewLayer:
    """A layer with fewer input channels, fewer filters or both."""
    weights = layer.get_weights()
    if isinstance(layer, keras.layers.BatchNormalization):
        return NewLayer(reconfigured(layer), [weight[inputs] for weight in weights])
    kernel, *bias = weights
    if isinstance(layer, DEPTHWISE):  # kernel (..., channels, multiplier), bias (channels * multiplier,)
        assert inputs is not None
        multiplier = layer.depth_multiplier
        channels = (inputs[:, None] * multiplier + np.arange(multiplier)).ravel()
        return NewLayer(reconfigured(layer), [kernel[..., inputs, :], *(b[channels] for b in bias)])
    if inputs is not None:
        kernel = kernel[..., inputs, :]
    if outputs is None:
        return NewLayer(reconfigured(layer), [kernel, *bias])
    return NewLayer(
        reconfigured(layer, filters=len(outputs)), [kernel[..., outputs], *(weight[outputs] for weight in bias)]
    )


def _choose(
    chains: tuple[Chain, ...], sparsity: float, round_to: int
) -> tuple[dict[str, Indices], tuple[Change, ...], tuple[Skip, ...]]:
    keep: dict[str, Indices] = {}
    changed: list[Change] = []
    skipped: list[Skip] = []
    for chain in chains:
        layer, name = chain.producer.operation, chain.producer.name
        count = kept_count(layer.filters, sparsity, round_to)
        if count == layer.filters:
            why = f"it has {layer.filters} filters, too few to remove {sparsity:.0%} in multiples of {round_to} or 4"
            skipped.append(Skip(name, why))
            continue
        strongest = np.argsort(-importance(layer), kind="stable")[:count]
        keep[name] = np.sort(strongest).astype(np.int64)
        changed.append(Change(name, f"{layer.filters} -> {count} filters"))
    return keep, tuple(changed), tuple(skipped)
