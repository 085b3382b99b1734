"""The channel algebra: which channels of which tensors and weights live or die together.

Every channel that a layer makes is an *element*, a number. A tensor's last axis is an array of elements
(:data:`Labels`), another axis only where channels were moved there, and so is each axis of each weight that belongs to
channels. Rules (:mod:`~edgepress.compression.graph.rules`) say what a layer does with them: a convolution makes new
ones, a Concatenate strings them together, a Flatten repeats them, an Add *ties* those of its inputs, and a layer
without a rule *freezes* what it meets. Elements that are tied, directly or over others, are one *atom*: they are
removed together or not at all. Atoms that the same layers make and the same slices take are a *group*, within which
they are compared.

The idea of dependency groups is DepGraph's (Fang et al. 2023); here it goes down to single channels, so that offsets,
repetitions and grouped convolutions need no index maps of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, TensorRef
from edgepress.errors import CompressionError

Labels = NDArray[np.int64]
Moved = Mapping[int, Labels]
"""Labels of axes before the last one, by axis (the batch is 0)."""

Constants = NDArray[np.float64]
Weights = Sequence[NDArray[Any]]
Alive = NDArray[np.bool_]


def not_constant(count: int) -> Constants:
    """Constants of channels that vary: NaN."""
    return np.full(count, np.nan)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of channels.

    Attributes:
        alive: for each element, whether it stays.
    """

    alive: Alive

    def __call__(self, labels: Labels) -> int:
        """Return how many of these channels stay."""
        return int(self.alive[labels].sum())

    def of(self, labels: Labels, values: Any, axis: int = 0) -> NDArray[Any]:
        """Return those of ``values``, one for each of these channels along ``axis``, whose channels stay."""
        return np.compress(self.alive[labels], np.asarray(values), axis=axis)


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
        settings: from what is :class:`Kept`, the configuration that changes.
        arguments: from what is :class:`Kept`, the arguments of the call that change, by name.
        makes: the labels of channels that the layer makes, if it does, by what people call them: ``filters``,
            ``units``, ``heads``.
        constant: what an output channel is when it is removed, that is when its weights are zero: from the constants of
            the inputs and the layer's weights; NaN where it varies. None: it always varies.
        reads: set where removed input channels can leave something for the bias.
        over_channels: it takes statistics over its input's channels, and will take them over those that are left.
        keeps: weights that stay as they are in a removed channel (a BatchNorm's beta, which makes its constant).
        moved: of each output, the labels of axes before the last. None, from a rule that does not know of such axes:
            channels on them are frozen.
    """

    outputs: tuple[Labels, ...]
    weights: tuple[tuple[Labels | None, ...], ...] = ()
    settings: Callable[[Kept], dict[str, Any]] | None = None
    arguments: Callable[[Kept], dict[str, Any]] | None = None
    makes: Mapping[str, Labels] = field(default_factory=dict)
    constant: Callable[[Sequence[Constants], Weights], Constants] | None = None
    reads: Reads | None = None
    over_channels: bool = False
    keeps: tuple[int, ...] = ()
    moved: tuple[Moved, ...] | None = None

    def moved_of(self, output: int) -> Moved:
        """The labels of an output's axes before the last."""
        return self.moved[output] if self.moved else {}

    def labels(self) -> list[Labels]:
        """All labels that are somewhere in it."""
        axes = [labels for axes in self.weights for labels in axes if labels is not None]
        return [*self.outputs, *axes, *(labels for moved in self.moved or () for labels in moved.values())]


@dataclass(frozen=True, eq=False)
class Group:
    """Atoms that the same layers make and the same slices take.

    Attributes:
        producers: names of these layers, in the order of the graph.
        kinds: what each of them calls what it makes here: ``filters``, ``units``, ``heads``.
        atoms: the atoms' numbers, in the order of the first producer's channels.
        width: how many channels of the first producer are one atom.
        frozen: why none of them can be removed, or None.
    """

    producers: tuple[str, ...]
    kinds: tuple[str, ...]
    atoms: NDArray[np.int64]
    width: int
    frozen: str | None

    def multiple(self, channels: int) -> int:
        """Return how many atoms make a multiple of so many channels; one head is wide enough for any kernel."""
        return 1 if "heads" in self.kinds else math.lcm(channels, self.width) // self.width


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
        moved: of each input, the labels of axes before the last; most often there are none.
        input_shapes, output_shapes: with the batch (None).
    """

    def __init__(self, node: Node, graph: Graph, bindings: Sequence[Binding], state: _State) -> None:
        self.node = node
        self.layer: Any = node.operation
        self.inputs = tuple(bindings[ref.node].outputs[ref.output] for ref in node.inputs)
        self.moved = tuple(bindings[ref.node].moved_of(ref.output) for ref in node.inputs)
        self.input_shapes = tuple(graph.shape_of(ref) for ref in node.inputs)
        self.output_shapes = node.output_shapes
        self._state = state

    def argument(self, name: str) -> Any:
        """Return what the layer is called with by this name, None where that is nothing; of a tensor its labels."""
        value = self.node.argument(name)
        return self.inputs[self.node.inputs.index(value)] if isinstance(value, TensorRef) else value

    def make(self, count: int, what: str = "") -> Labels:
        """Return the labels of ``count`` channels that this layer makes: the same in each of its calls.

        ``what`` tells apart the several kinds of channels that one layer may make.
        """
        return self._state.made_by(self.node.name, what, count)

    def positions(self, count: int | None) -> Labels:
        """Return labels for a last axis without channels, whose size stays what it is."""
        labels = self._state.frozen(count or 0, f"{_named(self.node)} makes positions of it")
        self._state.places.update(labels[:1].tolist())
        return labels

    def are_positions(self, labels: Labels) -> bool:
        """Whether these came from :meth:`positions`."""
        return len(labels) > 0 and int(labels[0]) in self._state.places

    def tie(self, first: Labels, *others: Labels) -> None:
        """Bind channels to live or die together, place by place."""
        for other in others:
            self._state.tie(first, other)

    def part(self, labels: Labels) -> None:
        """Have these channels compared among each other, so that some of them stay: a slice must not become empty."""
        self._state.parts.append(labels)

    def freeze(self, labels: Labels, why: str) -> None:
        """Let none of these channels be removed."""
        self._state.freeze(labels, why)


Rule = Callable[[Call], "Binding | None"]
"""None: this call is none that the rule knows, and is treated as one without a rule."""


def channels_of(graph: Graph, rule_for: Callable[[Any], Rule | None]) -> Channels:
    """Work out the channels of a graph.

    Args:
        rule_for: gives the rule of a layer, or None: then what the layer meets is frozen.

    Raises:
        CompressionError: a rule does not fit its layer.
    """
    state = _State()
    bindings: list[Binding] = []
    first_calls: dict[str, Binding] = {}
    for node in graph.nodes:
        call = Call(node, graph, bindings, state)
        rule = None if has_other_weights(node.operation) else rule_for(node.operation)
        binding = (rule(call) if rule is not None else None) or _unknown(call, state)
        if binding.moved is None:
            _freeze_moved(call.moved, f"it meets {_named(node)} on an axis before the last", state)
        _check(node, binding)
        first = first_calls.setdefault(node.name, binding)
        if first is not binding:
            _tie_calls(state, first, binding, node.name)
        bindings.append(binding)
    for ref in graph.outputs:
        made = bindings[ref.node]
        for labels in (made.outputs[ref.output], *made.moved_of(ref.output).values()):
            state.freeze(labels, "it reaches an output of the model")
    atom_of = state.atoms()
    return Channels(graph, atom_of, tuple(bindings), first_calls, _groups(state, first_calls, atom_of))


def has_other_weights(layer: Any) -> bool:
    """Whether a layer has others than its class: quantized by Keras, adapted (LoRA), or those of its activation."""
    activation = getattr(layer, "activation", None)
    return bool(
        getattr(layer, "quantization_mode", None)
        or getattr(layer, "lora_enabled", False)
        or getattr(activation, "weights", None)
    )


def _unknown(call: Call, state: _State) -> Binding:
    """A layer that nothing is known of: what goes in stays, and so does what comes out."""
    why = f"it meets {_named(call.node)}, for which there is no rule"
    for labels in call.inputs:
        state.freeze(labels, why)
    outputs = tuple(state.frozen((shape[-1] if len(shape) > 1 else 0) or 0, why) for shape in call.output_shapes)
    return Binding(outputs)


def _check(node: Node, binding: Binding) -> None:
    """Find out a rule that speaks of another layer than this one."""
    shapes = [tuple(weight.shape) for weight in node.operation.weights] if binding.weights else []
    said = [tuple(None if labels is None else len(labels) for labels in axes) for axes in binding.weights]
    fits = len(said) == len(shapes) and all(
        len(axes) == len(shape) and all(one in (None, size) for one, size in zip(axes, shape, strict=True))
        for axes, shape in zip(said, shapes, strict=True)
    )
    if not fits or len(binding.outputs) != len(node.output_shapes):
        raise CompressionError(
            f"the rule of {_named(node)} does not fit it: it labels weights of sizes {said} and {len(binding.outputs)} "
            f"outputs; the layer has weights of sizes {shapes} and {len(node.output_shapes)} outputs"
        )


def _named(node: Node) -> str:
    return f"{node.name} ({type(node.operation).__name__})"


def _freeze_moved(moved: Sequence[Moved], why: str, state: _State) -> None:
    for axes in moved:
        for labels in axes.values():
            state.freeze(labels, why)


def _tie_calls(state: _State, first: Binding, other: Binding, name: str) -> None:
    """The calls of a shared layer have one set of weights and one configuration."""
    if len(first.weights) != len(other.weights) or len(first.outputs) != len(other.outputs):
        for labels in (*first.labels(), *other.labels()):
            state.freeze(labels, f"{name} is shared, and not all of its calls have a rule")
        return
    for axes, other_axes in zip(first.weights, other.weights, strict=True):
        for one, another in zip(axes, other_axes, strict=True):
            if one is not None and another is not None:
                state.tie(one, another)
    if first.settings is not None or first.over_channels:
        for made, other_made in zip(first.outputs, other.outputs, strict=True):
            state.tie(made, other_made)
        for binding in (first, other):
            _freeze_moved(binding.moved or (), f"{name} is shared, and has another axis of channels", state)


def _groups(state: _State, layers: dict[str, Binding], atom_of: NDArray[np.int64]) -> tuple[Group, ...]:
    makers: dict[int, list[tuple[str, str]]] = {}  # by atom, in the order of the graph
    for name, binding in layers.items():
        for kind, labels in binding.makes.items():
            for atom in np.unique(atom_of[labels]).tolist():
                makers.setdefault(atom, []).append((name, kind))
    frozen: dict[int, str] = {}
    for labels, why in state.reasons:
        for atom in np.unique(atom_of[labels]).tolist():
            frozen.setdefault(atom, why)
    parts: dict[int, tuple[int, ...]] = {}
    for number, labels in enumerate(state.parts):
        for atom in np.unique(atom_of[labels]).tolist():
            parts[atom] = (*parts.get(atom, ()), number)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for atom, made in makers.items():
        groups.setdefault((tuple(made), frozen.get(atom), parts.get(atom)), []).append(atom)
    found = []
    for (made, why, _), atoms in groups.items():
        (name, kind), *_ = made
        width = int(np.isin(atom_of[layers[name].makes[kind]], atoms).sum()) // len(atoms)
        names, kinds = zip(*made, strict=True)
        found.append(Group(names, kinds, np.asarray(atoms, np.int64), width, why))
    return tuple(found)


@dataclass
class _State:
    count: int = 0
    made: dict[tuple[str, str], Labels] = field(default_factory=dict)
    ties: list[tuple[Labels, Labels]] = field(default_factory=list)
    reasons: list[tuple[Labels, str]] = field(default_factory=list)
    parts: list[Labels] = field(default_factory=list)
    places: set[int] = field(default_factory=set)  # first labels of axes without channels

    def made_by(self, name: str, what: str, count: int) -> Labels:
        if (name, what) not in self.made:
            self.made[name, what] = self._new(count)
        return self.made[name, what]

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
