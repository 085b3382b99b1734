"""The channel algebra: which channels of which tensors and weights live or die together.

Every channel that a layer makes is an *element*, a number. A tensor's last axis is an array of elements
(:data:`Labels`), and so is each axis of each weight that belongs to channels. Rules
(:mod:`~edgepress.compression.graph.rules`) say what a layer does with them: a convolution makes new ones, a Concatenate
strings them together, a Flatten repeats them, an Add *ties* those of its inputs, and a layer without a rule *freezes*
what it meets. Elements that are tied, directly or
over others, are one *atom*: they are removed together or not at all. Atoms that the same layers make are a *group*,
within which they are compared.

The idea of dependency groups is DepGraph's (Fang et al. 2023); here it goes down to single channels, so that offsets,
repetitions and grouped convolutions need no index maps of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, Shape

Labels = NDArray[np.int64]
Constants = NDArray[np.float64]
Weights = Sequence[NDArray[Any]]
Alive = NDArray[np.bool_]


def not_constant(count: int) -> Constants:
    """Constants of channels that vary: NaN."""
    return np.full(count, np.nan)


@dataclass(frozen=True)
class Reads:
    """That a layer mixes channels by a kernel, as ``kernel (..., inputs, outputs)``.

    Attributes:
        bias: number of the bias among the weights, None where there is none.
        everywhere: whether every output sees all positions of the kernel, so that an input channel that is constant
            adds a constant: no padding, or a kernel of size 1.
    """

    bias: int | None
    everywhere: bool


@dataclass(frozen=True, eq=False)
class Binding:
    """What a rule says of one call of one layer.

    Attributes:
        outputs: the labels of each output's last axis.
        weights: for each weight, in ``get_weights()`` order, the labels of each of its axes (None: no channels there).
        settings: from ``count(labels)``, the number of channels left, the configuration that changes.
        makes: the labels of channels that the layer makes, if it does.
        constant: what an output channel is when it is removed, that is when its weights are zero: from the constants of
            the inputs and the layer's weights; NaN where it varies. None: it always varies.
        reads: set where removed input channels can leave something for the bias.
        over_channels: it takes statistics over its input's channels, and will take them over those that are left.
        keeps: weights that stay as they are in a removed channel and make its constant (a BatchNorm's beta).
    """

    outputs: tuple[Labels, ...]
    weights: tuple[tuple[Labels | None, ...], ...] = ()
    settings: Callable[[Callable[[Labels], int]], dict[str, Any]] | None = None
    makes: Labels | None = None
    constant: Callable[[Sequence[Constants], Weights], Constants] | None = None
    reads: Reads | None = None
    over_channels: bool = False
    keeps: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Group:
    """Atoms that the same layers make.

    Attributes:
        producers: names of these layers, in the order of the graph.
        atoms: the atoms' numbers, in the order of the first producer's channels.
        frozen: why none of them can be removed, or None.
    """

    producers: tuple[str, ...]
    atoms: NDArray[np.int64]
    frozen: str | None


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a graph.

    Attributes:
        atom_of: for each element, its atom.
        bindings: by number of node.
        layers: by name of layer, the binding of its first call, to whose labels those of all other calls are tied.
        groups: those that some layer of the model makes.
    """

    graph: Graph
    atom_of: NDArray[np.int64]
    bindings: tuple[Binding, ...]
    layers: dict[str, Binding]
    groups: tuple[Group, ...]

    def alive(self, removed_atoms: NDArray[np.int64]) -> Alive:
        """Return for each element whether it stays when some atoms go."""
        gone = np.zeros(len(self.atom_of) + 1, bool)
        gone[removed_atoms] = True
        return ~gone[self.atom_of]


class Call:
    """One call of one layer, as a rule sees it.

    Attributes:
        layer: the layer or operation.
        node: the call in the graph.
        inputs: labels of the last axis of each input.
        input_shapes, output_shapes: with the batch (None).
    """

    def __init__(self, node: Node, inputs: tuple[Labels, ...], input_shapes: tuple[Shape, ...], state: _State) -> None:
        self.node = node
        self.layer: Any = node.operation
        self.inputs = inputs
        self.input_shapes = input_shapes
        self.output_shapes = node.output_shapes
        self._state = state

    def make(self, count: int) -> Labels:
        """Return the labels of ``count`` channels that this layer makes: the same in each of its calls."""
        return self._state.made_by(self.node.name, count)

    def tie(self, first: Labels, *others: Labels) -> None:
        """Bind channels to live or die together, place by place."""
        for other in others:
            self._state.tie(first, other)

    def freeze(self, labels: Labels, why: str) -> None:
        """Let none of these channels be removed."""
        self._state.freeze(labels, why)


Rule = Callable[[Call], "Binding | None"]
"""None: this call is none that the rule knows, and is treated as one without a rule."""


def channels_of(graph: Graph, rule_for: Callable[[Any], Rule | None]) -> Channels:
    """Work out the channels of a graph.

    Args:
        rule_for: gives the rule of a layer, or None: then what the layer meets is frozen.
    """
    state = _State()
    bindings: list[Binding] = []
    first_calls: dict[str, Binding] = {}
    for node in graph.nodes:
        inputs = tuple(bindings[ref.node].outputs[ref.output] for ref in node.inputs)
        call = Call(node, inputs, tuple(graph.shape_of(ref) for ref in node.inputs), state)
        rule = rule_for(node.operation)
        binding = (rule(call) if rule is not None else None) or _unknown(call, state)
        first = first_calls.setdefault(node.name, binding)
        if first is not binding:
            _tie_calls(state, first, binding)
        bindings.append(binding)
    for ref in graph.outputs:
        state.freeze(bindings[ref.node].outputs[ref.output], "it reaches an output of the model")
    atom_of = state.atoms()
    return Channels(graph, atom_of, tuple(bindings), first_calls, _groups(state, first_calls, atom_of))


def _unknown(call: Call, state: _State) -> Binding:
    """A layer that nothing is known of: what goes in stays, and so does what comes out."""
    node = call.node
    why = f"it meets {node.name} ({type(node.operation).__name__}), for which there is no rule"
    for labels in call.inputs:
        state.freeze(labels, why)
    outputs = tuple(state.frozen((shape[-1] if len(shape) > 1 else 0) or 0, why) for shape in node.output_shapes)
    return Binding(outputs)


def _tie_calls(state: _State, first: Binding, other: Binding) -> None:
    """The calls of a shared layer have one set of weights and one configuration."""
    for axes, other_axes in zip(first.weights, other.weights, strict=True):
        for labels, other_labels in zip(axes, other_axes, strict=True):
            if labels is not None and other_labels is not None:
                state.tie(labels, other_labels)
    if first.settings is not None:
        for labels, other_labels in zip(first.outputs, other.outputs, strict=True):
            state.tie(labels, other_labels)


def _groups(state: _State, layers: dict[str, Binding], atom_of: NDArray[np.int64]) -> tuple[Group, ...]:
    makers: dict[int, list[str]] = {}  # by atom, in the order of the graph
    for name, binding in layers.items():
        if binding.makes is not None:
            for atom in np.unique(atom_of[binding.makes]).tolist():
                makers.setdefault(atom, []).append(name)
    frozen: dict[int, str] = {}
    for labels, why in state.reasons:
        for atom in np.unique(atom_of[labels]).tolist():
            frozen.setdefault(atom, why)
    groups: dict[tuple[tuple[str, ...], str | None], list[int]] = {}
    for atom, names in makers.items():
        groups.setdefault((tuple(names), frozen.get(atom)), []).append(atom)
    return tuple(Group(names, np.asarray(atoms, np.int64), why) for (names, why), atoms in groups.items())


@dataclass
class _State:
    count: int = 0
    made: dict[str, Labels] = field(default_factory=dict)
    ties: list[tuple[Labels, Labels]] = field(default_factory=list)
    reasons: list[tuple[Labels, str]] = field(default_factory=list)

    def made_by(self, name: str, count: int) -> Labels:
        if name not in self.made:
            self.made[name] = self._new(count)
        return self.made[name]

    def frozen(self, count: int, why: str) -> Labels:
        labels = self._new(count)
        self.freeze(labels, why)
        return labels

    def tie(self, first: Labels, second: Labels) -> None:
        if len(first) != len(second):
            for labels in (first, second):
                self.freeze(labels, "it meets channels of another number")
        elif first is not second:
            self.ties.append((first, second))

    def freeze(self, labels: Labels, why: str) -> None:
        if len(labels):
            self.reasons.append((labels, why))

    def atoms(self) -> NDArray[np.int64]:
        """For each element the smallest one that it is tied to (union-find with path halving)."""
        parent = list(range(self.count))

        def root(element: int) -> int:
            while parent[element] != element:
                parent[element] = parent[parent[element]]
                element = parent[element]
            return element

        for first, second in self.ties:
            for a, b in zip(first.tolist(), second.tolist(), strict=True):
                a, b = root(a), root(b)
                if a != b:
                    parent[max(a, b)] = min(a, b)
        return np.fromiter((root(element) for element in range(self.count)), np.int64, self.count)

    def _new(self, count: int) -> Labels:
        labels = np.arange(self.count, self.count + count)
        self.count += count
        return labels
