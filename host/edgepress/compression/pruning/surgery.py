"""Removing channels: every layer that has them is made anew with the rest, and its weights are sliced.

What a removed channel leaves behind where its filter is zero (a BatchNorm's beta, an activation that is not 0 at 0) is
added to the bias of what reads it, or taken from the mean of the BatchNorm behind it, where that is exact.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Alive, Channels, Constants, Kept, Labels, not_constant
from edgepress.compression.graph.reader import Graph, Node, read
from edgepress.compression.graph.rebuild import NewLayer, in_double, rebuild, reconfigured, set_weights, untrained
from edgepress.compression.pruning.proof import OverTheRest, prove, with_other_statistics
from edgepress.data import Split

LayerWeights = Mapping[str, list[NDArray[Any]]]
"""``get_weights()`` of each layer, by name."""


@dataclass(frozen=True, eq=False)
class Surgery:
    """A model with channels removed.

    Attributes:
        largest_difference: between its logits and those of the model with the same channels zeroed, relative to the
            largest logit.
        folded: names of layers that took over constants of removed channels.
    """

    model: Any
    largest_difference: float
    folded: tuple[str, ...]


def remove_channels(
    channels: Channels, removed_atoms: NDArray[np.int64], seed: int = 0, data: Split | None = None
) -> Surgery:
    """Return the graph's model without some atoms of its channels, proven to be what is left of it.

    Args:
        data: what it is proven on where random inputs have no answer.

    Raises:
        CompressionError: the model that was built does not compute what the original computes with those channels
            zeroed.
    """
    cut = _Cut(channels, channels.alive(removed_atoms))
    weights = _weights(channels.graph)
    pruned = rebuild(cut.graph(), cut.replacements(), copy_weights=False)
    other = with_other_statistics(channels.graph, weights, seed)
    reference = rebuild(channels.graph, cut.reference_layers(), copy_weights=False)
    _set(reference, cut.zeroed(other))
    _set(pruned, cut.sliced(other))

    def in_float64() -> tuple[Any, Any]:
        exact = {name: [_exact(value) for value in values] for name, values in other.items()}
        models = in_double(pruned), in_double(reference)
        for model, its in zip(models, (cut.sliced(exact), cut.zeroed(exact)), strict=True):
            _set(model, its)
        return models

    difference = prove(pruned, reference, seed, data, in_float64)
    _set(pruned, cut.sliced(weights))
    return Surgery(pruned, difference, tuple(fold.reader.name for fold in cut.folds(weights)))


def untrained_without(channels: Channels, removed_atoms: NDArray[np.int64]) -> Any:
    """Return the graph's model without some atoms of its channels, with fresh weights and no layer frozen."""
    cut = _Cut(channels, channels.alive(removed_atoms))
    return untrained(cut.graph(), cut.replacements(), cut.sliced(_weights(channels.graph)))


def _exact(weight: NDArray[Any]) -> NDArray[Any]:
    """A weight to reckon with in float64: constants that are folded into a bias must not be rounded."""
    return weight.astype(np.float64) if np.issubdtype(weight.dtype, np.floating) else weight


def _weights(graph: Graph) -> LayerWeights:
    return {name: layer.get_weights() for name, layer in graph.layers().items()}


def _set(model: Any, weights: LayerWeights) -> None:
    for name, layer in read(model).layers().items():
        set_weights(layer, weights[name])


@dataclass(frozen=True, eq=False)
class _Fold:
    """Constants of removed channels that their reader takes over.

    Attributes:
        constants: of each input channel of the reader; 0 for what stays.
        bias: number of the reader's bias; None: they are taken from the mean of ``norm``.
    """

    reader: Node
    constants: Constants
    bias: int | None
    norm: str | None


class _Cut:
    """Which channels of a graph stay, and what becomes of its layers."""

    def __init__(self, channels: Channels, alive: Alive) -> None:
        self._channels = channels
        self._graph = channels.graph
        self._alive = alive
        self._kept = Kept(alive)
        self._affected = {
            name: binding for name, binding in channels.layers.items() if any(map(self._loses, binding.labels()))
        }

    def graph(self) -> Graph:
        """The graph with the arguments of its calls that are others for the smaller model, such as ends of slices."""

        def called(node: Node) -> Node:
            changes = self._channels.bindings[node.index].arguments
            if changes is None:
                return node
            bound = inspect.signature(node.operation.call).bind(*node.args, **node.kwargs)
            bound.arguments.update(changes(self._kept))
            return dataclasses.replace(node, args=bound.args, kwargs=bound.kwargs)

        return dataclasses.replace(self._graph, nodes=tuple(map(called, self._graph.nodes)))

    def replacements(self) -> dict[str, list[NewLayer]]:
        """The layers that become smaller, unbuilt."""
        nodes = {node.name: node for node in self._graph.nodes}
        return {
            name: [NewLayer(reconfigured(nodes[name].operation, name=name, **binding.settings(self._kept)))]
            for name, binding in self._affected.items()
            if binding.settings is not None
        }

    def reference_layers(self) -> dict[str, list[NewLayer]]:
        """Layers of the whole model that compute something else once channels are gone."""
        layers = self._graph.layers()
        return {
            name: [NewLayer(OverTheRest(layers[name], binding, self._alive, name))]
            for name, binding in self._affected.items()
            if binding.over_channels
        }

    def sliced(self, weights: LayerWeights) -> dict[str, list[NDArray[Any]]]:
        """What the smaller layers get."""
        cut = {name: list(values) for name, values in weights.items()}
        for fold in self.folds(weights):
            kernel = np.asarray(weights[fold.reader.name][0], np.float64)
            shift = fold.constants @ kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
            if fold.norm is not None:
                name, index, shift = fold.norm, -2, -shift  # the mean
            else:
                assert fold.bias is not None
                name, index = fold.reader.name, fold.bias
            cut[name][index] = (cut[name][index] + shift).astype(cut[name][index].dtype)
        for name, binding in self._affected.items():
            for index, axes in enumerate(binding.weights):
                for axis, labels in enumerate(axes):
                    if labels is not None:
                        cut[name][index] = self._kept.of(labels, cut[name][index], axis)
        return cut

    def zeroed(self, weights: LayerWeights) -> dict[str, list[NDArray[Any]]]:
        """What the whole model has when the channels are there, but say nothing."""
        zeroed = {name: [np.array(value) for value in values] for name, values in weights.items()}
        read_on = {fold.reader.name: fold.constants != 0 for fold in self.folds(weights)}
        for name, binding in self._affected.items():
            for index, axes in enumerate(binding.weights):
                if index in binding.keeps:
                    continue
                for axis, labels in enumerate(axes):
                    if labels is None:
                        continue
                    gone = ~self._alive[labels]
                    if name in read_on and index == 0 and axis == len(axes) - 2:
                        gone &= ~read_on[name]
                    np.moveaxis(zeroed[name][index], axis, 0)[gone] = 0
        return zeroed

    def folds(self, weights: LayerWeights) -> list[_Fold]:
        """The constants that can be taken over exactly."""
        constants = self._constants(weights)
        found = []
        for node in self._graph.nodes:
            binding = self._channels.bindings[node.index]
            if binding.reads is None or not binding.reads.everywhere or len(self._graph.calls(node.name)) > 1:
                continue
            (source,) = node.inputs
            labels = self._channels.bindings[source.node].outputs[source.output]
            if not self._loses(labels):
                continue
            values = np.where(~self._alive[labels], np.nan_to_num(constants[source.node][source.output]), 0.0)
            norm = None if binding.reads.bias is not None else self._norm_behind(node)
            if values.any() and (binding.reads.bias is not None or norm is not None):
                found.append(_Fold(node, values, binding.reads.bias, norm))
        return found

    def _constants(self, weights: LayerWeights) -> list[list[Constants]]:
        """What each channel of each tensor would be, were it removed, by node and output."""
        constants: list[list[Constants]] = []
        for node, binding in zip(self._graph.nodes, self._channels.bindings, strict=True):
            if binding.constant is None:
                constants.append([not_constant(len(labels)) for labels in binding.outputs])
                continue
            inputs = [constants[ref.node][ref.output] for ref in node.inputs]
            value = binding.constant(inputs, weights.get(node.name, []))
            constants.append([value for _ in binding.outputs])
        return constants

    def _norm_behind(self, node: Node) -> str | None:
        """The BatchNormalization that alone reads a convolution without bias and activation."""
        consumers = self._graph.consumers(node)
        if len(consumers) != 1 or self._graph.is_output(node):
            return None
        (norm,) = consumers
        linear = getattr(node.operation, "activation", None) in (None, keras.activations.linear)
        if not linear or type(norm.operation) is not keras.layers.BatchNormalization:
            return None
        on_channels = self._channels.bindings[norm.index].weights
        return norm.name if on_channels and len(self._graph.calls(norm.name)) == 1 else None

    def _loses(self, labels: Labels) -> bool:
        return not self._alive[labels].all()
