"""How much a channel matters: one number for each atom of a group, the larger the more.

Where several layers make a group together (what meets in an Add), each layer's numbers are divided by their mean before
they are summed, so that no layer speaks louder than another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Channels, Group, Labels
from edgepress.compression.graph.reader import Node, TensorRef, read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.graph.tracing import trace
from edgepress.compression.recipe_tables import Criterion
from edgepress.data import TrainingData
from edgepress.training.evaluate import flat, judging, mixed_batches
from edgepress.training.objective import Objective

Scores = NDArray[np.float64]
Made = tuple[str, str]
"""A layer's name, and what it makes: ``filters``, ``units``, ``heads``."""

OfFilters = Callable[[Made, NDArray[np.float64]], Scores]
"""From who makes them and the filters as rows ``(filters, weights)``: a number for each filter."""

_BATCHES = 8  # of training data, of 32 to 256 samples each


def scores_of(channels: Channels, group: Group, of_filters: OfFilters) -> Scores:
    """Return a number for each of ``group.atoms``, whose mean is 1 (or all are 0)."""
    total = np.zeros(len(group.atoms))
    for made in zip(group.producers, group.kinds, strict=True):
        name, kind = made
        filters = filters_of(channels, made, channels.graph.layers()[name].get_weights())
        total += _by_atom(channels, group, channels.layers[name].makes[kind], of_filters(made, filters))
    return _normalised(total)


def filters_of(channels: Channels, made: Made, weights: list[Any]) -> NDArray[np.float64]:
    """Return a layer's kernels as one row for each channel that it makes; biases are not among them.

    Args:
        weights: one array for each of the layer's weights, in its order: these themselves, or gradients.
    """
    name, kind = made
    binding = channels.layers[name]
    makes = binding.makes[kind]
    rows = []
    for variable, values, axes in zip(channels.graph.layers()[name].weights, weights, binding.weights, strict=True):
        if variable.name == "bias" or values.ndim < 2:
            continue
        for axis in reversed(range(len(axes))):  # what a recurrent unit hears is behind what others hear of it
            places = _places(axes[axis], makes)
            if places is not None:
                rows.append(np.moveaxis(np.asarray(values, np.float64), axis, 0)[places].reshape(len(makes), -1))
                break
    return np.concatenate(rows, axis=1) if rows else np.zeros((len(makes), 1))


def criterion_named(
    criterion: Criterion, channels: Channels, model: Any, data: TrainingData, objective: Objective, seed: int = 0
) -> Callable[[Group], Scores]:
    """Return the function that gives the scores of a group by a criterion.

    * ``l1``, ``l2``: the norm of a filter (Li et al. 2017; He et al. 2018, "Soft Filter Pruning").
    * ``batchnorm-scale``: gamma of the BatchNorm layers on the channel (Liu et al. 2017, "Network Slimming"); where
      there are none, ``l2``.
    * ``geometric-median``: the distance to all filters of the layer (He et al. 2019, FPGM): what others replace goes.
    * ``taylor``: how much the loss would change, to first order (Molchanov et al. 2019), over 8 batches of training
      data in mixed order.
    * ``activation``: the mean size of what a channel says to the layers that read it (as the share of zeros in Hu et
      al. 2016, "Network Trimming", but for any activation), over the same data; where none reads it, ``l2``.
    """
    if criterion == "batchnorm-scale":
        return lambda group: _by_batchnorm_scale(channels, group)
    if criterion == "taylor":
        sensitivity = _sensitivity(channels, model, data, objective, seed)
        return lambda group: scores_of(channels, group, lambda made, _: sensitivity[made])
    if criterion == "activation":
        heard = _heard(channels, data, seed)
        return lambda group: _by_activation(channels, group, heard)
    of_filters = _OF_FILTERS[criterion]
    return lambda group: scores_of(channels, group, of_filters)


def _by_batchnorm_scale(channels: Channels, group: Group) -> Scores:
    total = np.zeros(len(group.atoms))
    layers = channels.graph.layers()
    for name, binding in channels.layers.items():
        layer: Any = layers.get(name)
        if type(layer) is keras.layers.BatchNormalization and layer.scale and binding.weights:
            total += _by_atom(channels, group, binding.outputs[0], np.abs(np.asarray(layer.gamma, np.float64)))
    return _normalised(total) if total.any() else scores_of(channels, group, _OF_FILTERS["l2"])


def _geometric_distance(_: Made, filters: NDArray[np.float64]) -> Scores:
    squares = np.square(filters).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * filters @ filters.T
    return np.asarray(np.sqrt(np.maximum(distances, 0)).sum(axis=1))


_OF_FILTERS: Mapping[str, OfFilters] = {
    "l1": lambda _, filters: np.abs(filters).sum(axis=1),
    "l2": lambda _, filters: np.sqrt(np.square(filters).sum(axis=1)),
    "geometric-median": _geometric_distance,
}


def _sensitivity(
    channels: Channels, model: Any, data: TrainingData, objective: Objective, seed: int
) -> dict[Made, Scores]:
    """The square of gradient times weight, summed over a filter first and over batches then."""
    import tensorflow as tf

    copy = copy_of(model)
    judged = flat(copy)
    judge = judging(objective)
    layers = read(copy).layers()
    found: dict[Made, Scores] = {}
    makers = [name for name, binding in channels.layers.items() if binding.makes and name in layers]
    makers = [name for name in makers if layers[name].weights]
    for batch in islice(mixed_batches(data.train, seed), _BATCHES):
        with tf.GradientTape() as tape:
            tape.watch([variable.value for name in makers for variable in layers[name].weights])
            outputs = judged([keras.ops.convert_to_tensor(x) for x in batch.inputs], training=False)
            loss = judge(batch.targets, keras.tree.flatten(outputs))
        weights = {name: [variable.value for variable in layers[name].weights] for name in makers}
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        for name in makers:
            products = [
                np.asarray(tf.convert_to_tensor(g)) * np.asarray(w)
                for g, w in zip(gradients[name], weights[name], strict=True)
            ]
            for kind in channels.layers[name].makes:
                change = np.square(filters_of(channels, (name, kind), products).sum(axis=1))
                found[name, kind] = found.get((name, kind), 0) + change
    return found


def _heard(channels: Channels, data: TrainingData, seed: int) -> list[tuple[Labels, Scores]]:
    """What each layer with kernels hears: the labels of its inputs, and the mean absolute value of each."""
    sums: dict[TensorRef, Scores] = {}

    def listen(node: Node, inputs: tuple[NDArray[Any], ...]) -> None:
        if channels.bindings[node.index].makes:
            for ref, values in zip(node.inputs, inputs, strict=True):
                mean = np.abs(values, dtype=np.float64).mean(axis=tuple(range(values.ndim - 1)))
                sums[ref] = sums.get(ref, 0) + mean

    for batch in islice(mixed_batches(data.train, seed), _BATCHES):
        trace(channels.graph, batch.inputs, listen)
    heard = [(channels.bindings[ref.node].outputs[ref.output], values) for ref, values in sums.items()]
    return [(labels, values) for labels, values in heard if values.shape == labels.shape]


def _by_activation(channels: Channels, group: Group, heard: list[tuple[Labels, Scores]]) -> Scores:
    by_reader = [_normalised(_sums_by_atom(channels, group, labels, values)) for labels, values in heard]
    total = np.sum(by_reader, axis=0) if by_reader else np.zeros(len(group.atoms))
    return _normalised(total) if total.any() else scores_of(channels, group, _OF_FILTERS["l2"])


def _by_atom(channels: Channels, group: Group, labels: Labels, values: Scores) -> Scores:
    """Sum the values of a layer's channels over their atoms, and divide by the mean where several layers make them."""
    total = _sums_by_atom(channels, group, labels, values)
    return total if len(group.producers) == 1 else _normalised(total)


def _sums_by_atom(channels: Channels, group: Group, labels: Labels, values: Scores) -> Scores:
    atoms = channels.atom_of[labels]
    place = np.searchsorted(group.atoms, atoms)
    inside = (place < len(group.atoms)) & (group.atoms[np.minimum(place, len(group.atoms) - 1)] == atoms)
    total = np.zeros(len(group.atoms))
    np.add.at(total, place[inside], values[inside])
    return total


def _normalised(values: Scores) -> Scores:
    mean = float(values.mean()) if len(values) else 0.0
    return values / mean if mean > 0 else values


def _places(labels: Labels | None, makes: Labels) -> NDArray[np.int64] | None:
    """Where each channel is on an axis, ``(channels, times)``: a recurrent unit once for each gate.

    None where the axis is not of these channels.
    """
    if labels is None or len(labels) % len(makes):
        return None
    times = len(labels) // len(makes)
    if not np.array_equal(np.sort(labels), np.repeat(np.sort(makes), times)):
        return None
    by_label = np.argsort(labels, kind="stable").reshape(len(makes), times)
    return np.asarray(by_label[np.argsort(np.argsort(makes))])
