"""The step ``factorize``: layers of one large kernel become chains of small ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import keras

from edgepress.compression.factorization.cp import Cp
from edgepress.compression.factorization.decomposition import Decomposition, Ranks, shown
from edgepress.compression.factorization.einsum import Equation
from edgepress.compression.factorization.judged import Choice, fastest
from edgepress.compression.factorization.moments import measure_moments
from edgepress.compression.factorization.ranks import rank_by, ranks_within
from edgepress.compression.factorization.spatial import SpatialSvd
from edgepress.compression.factorization.svd import CONVOLUTIONS, Svd
from edgepress.compression.factorization.tucker import Tucker2
from edgepress.compression.graph.channels import has_other_weights
from edgepress.compression.graph.reader import Graph, read
from edgepress.compression.graph.rebuild import rebuild
from edgepress.compression.pruning.keep import check_patterns, first_kept
from edgepress.compression.recipe import FactorizeStep
from edgepress.compression.recovery import recover
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.training.cost import cost_of
from edgepress.training.zeros import zero_masks

_BUDGETS = ("parameters", "macs")
_FULL = 0.9  # of a kernel's weights are not zero: it has not been pruned


def factorize(model: Any, settings: FactorizeStep, context: StepContext) -> StepOutcome:
    """Factorize each layer that gains by it, and fine-tune.

    Raises:
        CompressionError: a pattern in ``keep`` names no layer.
    """
    graph = read(model)
    check_patterns(settings.keep, graph.layers())
    pruned = [name for name, mask in zero_masks(model).items() if mask.mean() < _FULL]
    kinds, skipped = _kinds(graph, settings, pruned)
    watched = {name: kind.see for name, kind in kinds.items() if kind.by_data}
    moments = measure_moments(graph, watched, context.data.train, context.seed) if watched else {}
    decompositions = {name: kind(graph, graph.calls(name)[0], moments.get(name)) for name, kind in kinds.items()}
    choices, notes = _choose(model, decompositions, settings, context)
    ranks = {name: found for name, (found, _) in choices.items() if found is not None}
    skipped += [Skip(name, why) for name, (found, why) in choices.items() if found is None]
    changed = tuple(Change(name, _said(decompositions[name], ranks[name], choices[name][1])) for name in ranks)
    chosen = {"ranks": {name: list(found) for name, found in ranks.items()}}
    if not ranks:
        note = "no layer was factorized: see what was skipped and why"
        return StepOutcome(model, context.conversion, (), tuple(skipped), (note, *notes), choices=chosen)
    smaller = rebuild(graph, {name: decompositions[name].layers(found) for name, found in ranks.items()})
    tuned = recover(smaller, settings, context, "Fine-tuning the factorized model")
    return StepOutcome(
        tuned.model, context.conversion, changed, tuple(skipped), (tuned.summary, *notes), choices=chosen
    )


def decomposition_of(graph: Graph, name: str, method: str) -> type[Decomposition] | str:
    """Return how a layer is taken apart by a method, or why it is left alone."""
    layer = graph.layers()[name]
    kind = type(layer)
    if has_other_weights(layer):
        return f"it has other weights than {kind.__name__} layers have"
    if kind in CONVOLUTIONS:
        if layer.groups > 1:
            return f"its {layer.groups} groups are a factorization already"
        size = layer.kernel_size
        if method == "tucker2" and max(size) > 1:
            return Tucker2
        if method == "cp" and max(size) > 1 and Cp.fits(layer):
            return Cp
        return SpatialSvd if method == "spatial-svd" and len(size) == 2 and min(size) > 1 else Svd
    if kind is keras.layers.EinsumDense and Equation.of(layer) is None:
        return f"its equation {layer.equation} has a matrix for each of several places"
    if kind in (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding):
        return Svd
    return f"no factorization for {kind.__name__} layers"


def _kinds(
    graph: Graph, settings: FactorizeStep, pruned: Collection[str]
) -> tuple[dict[str, type[Decomposition]], list[Skip]]:
    """How each layer that has a kernel is taken apart, and why others are left alone."""
    kinds: dict[str, type[Decomposition]] = {}
    skipped = []
    for name, layer in graph.layers().items():
        if not any(len(weight.shape) > 1 for weight in layer.weights):
            continue
        kind = decomposition_of(graph, name, settings.method)
        if first_kept(settings.keep, [name]) is not None:
            kind = "keep leaves it alone"
        elif name in pruned and not isinstance(kind, str):
            kind = "its zeros would be lost"
        if isinstance(kind, str):
            skipped.append(Skip(name, kind))
        else:
            kinds[name] = kind
    return kinds, skipped


def _choose(
    model: Any, decompositions: Mapping[str, Decomposition], settings: FactorizeStep, context: StepContext
) -> tuple[dict[str, Choice], tuple[str, ...]]:
    """For each layer its ranks, or None, and why."""
    rule = settings.rank
    if rule.faster:
        choices, note = fastest(decompositions, context)
        return choices, (note,)
    unmeasured = "ranks chosen by weights and data, not measured on a device"
    for measure in _BUDGETS:
        share = getattr(rule, measure)
        if share is not None:
            total = getattr(cost_of(model), measure)
            fixed = total - sum(getattr(one.whole, measure) for one in decompositions.values())
            within, met = ranks_within(decompositions, share * total - fixed, measure)
            notes = [unmeasured]
            if not met:
                notes.append(f"the budget of {share:.0%} of the {measure} was missed: it is out of reach")
            why = "the budget is met without it"
            return {name: (ranks, why if ranks is None else "") for name, ranks in within.items()}, tuple(notes)
    return {name: _shrinking(one, rank_by(one, rule)) for name, one in decompositions.items()}, (unmeasured,)


def _shrinking(decomposition: Decomposition, ranks: Ranks) -> Choice:
    if decomposition.shrinks(ranks):
        return ranks, ""
    largest = next((found for found in reversed(decomposition.path) if decomposition.shrinks(found)), None)
    would = "no rank would" if largest is None else f"{shown(largest)} would"
    return None, f"rank {shown(ranks)} would not make it smaller ({would}): {decomposition.describe(ranks)}"


def _said(decomposition: Decomposition, ranks: Ranks, why: str) -> str:
    cost = decomposition.cost(ranks)
    share = cost.parameters / decomposition.whole.parameters
    of = "its output on data" if decomposition.moments is not None else "its kernel"
    said = f"{decomposition.describe(ranks)}: {share:.0%} of its weights, {decomposition.lost(ranks):.2%} of {of} lost"
    return f"{said}; {why}" if why else said
