"""A model with a range on every tensor that int8 kernels round: what is calibrated, trained, and converted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import keras

from edgepress.compression.graph.reader import Graph, Node, TensorRef, read
from edgepress.compression.graph.rebuild import NewLayer, copied, rebuild, set_weights
from edgepress.compression.quantization.decompose import decompose
from edgepress.compression.quantization.folding import fold_batchnorm
from edgepress.compression.quantization.layers import QUANTIZED, FakeQuant, StaysFloat
from edgepress.compression.quantization.placement import Range, joined_range, placements, role_of
from edgepress.compression.steps import Skip
from edgepress.errors import CompressionError
from edgepress_converters.options import ConversionOptions


@dataclass(frozen=True)
class Annotated:
    """Attributes:
    model: computes as its int8 file will, once it has ranges (:func:`.ranges.set_ranges`).
    left: what stays float: layers without int8 kernels, and those that were to be left.
    allow_float: names that the conversion has to allow for that (``ConversionOptions.allow_float``).
    """

    model: Any
    left: tuple[Skip, ...]
    allow_float: tuple[str, ...]

    def conversion(self, options: ConversionOptions) -> ConversionOptions:
        """Return the options with which the model, once it has ranges, is made an int8 file."""
        return _by_its_ranges(options, self.allow_float)


def annotate(model: Any, *, left_float: frozenset[str] = frozenset()) -> Annotated:
    """Return a model that rounds weights and activations as TFLite's int8 kernels do; its ranges are still to be set.

    BatchNormalization is folded first. Convolutions have a scale for each filter, Dense layers one. Layers keep their
    names; the range behind ``x`` is a :class:`.layers.FakeQuant` called ``x_range``.

    Args:
        left_float: names of layers to leave in float.

    Raises:
        CompressionError: no layer has a name in ``left_float``; the model is annotated already. ModelError: it is no
            functional or Sequential model.
    """
    if fake_quants(model):
        raise CompressionError(f"{model.name!r} has ranges for int8 already: quantize the model that it was made from")
    folded = fold_batchnorm(model).model
    graph = read(decompose(folded, left_float))
    unknown = left_float - {node.name for node in (*read(folded).nodes, *graph.nodes)}
    if unknown:
        raise CompressionError(
            f"cannot leave {', '.join(sorted(unknown))} in float: {model.name!r} has no such layer once its "
            "BatchNormalization is folded"
        )
    ranges = _Ranges(graph, left_float)
    replacements = {}
    for node in graph.nodes:
        if node.name in replacements or node.name in left_float:
            continue
        if type(node.operation) in QUANTIZED:
            replacements[node.name] = [_quantized(node)]
        elif role_of(node) == "joins":
            replacements[node.name] = [NewLayer(_Joined(graph.calls(node.name), ranges))]
        elif node.is_layer and role_of(node) == "float":
            replacements[node.name] = [NewLayer(_Apart(node, ranges))]
    left = _left(graph, left_float)
    rebuilt = rebuild(graph, replacements, after=ranges.behind)
    return Annotated(rebuilt, left, (*(skip.layer for skip in left), *ranges.barriers))


def fake_quants(model: Any) -> dict[str, FakeQuant]:
    """Return a model's ranges by name, those that are prescribed included."""
    return {name: layer for name, layer in read(model).layers().items() if isinstance(layer, FakeQuant)}


def conversion_of(model: Any, options: ConversionOptions) -> ConversionOptions:
    """Return the options with which a model is made an int8 file: with its own ranges where it has any."""
    if options.format != "int8" or not fake_quants(model):
        return options
    graph = read(model)
    apart = [node for node in graph.nodes if isinstance(node.operation, StaysFloat)]
    beside = [other for node in apart for other in (graph.nodes[node.inputs[0].node], *graph.consumers(node))]
    named = (node.name for node in (*apart, *beside) if not isinstance(node.operation, FakeQuant))
    return _by_its_ranges(options, named)


def _by_its_ranges(options: ConversionOptions, in_float: Iterable[str]) -> ConversionOptions:
    allowed = tuple(dict.fromkeys((*options.allow_float, *in_float)))
    return dataclasses.replace(options, format="int8", ranges="in-model", allow_float=allowed)


class _Ranges:
    """Puts what rounds behind the tensors of a graph, as it is built."""

    def __init__(self, graph: Graph, left_float: frozenset[str]) -> None:
        self._graph = graph
        self._left_float = left_float
        self._placements = placements(graph, left_float)
        self._made: dict[TensorRef, FakeQuant] = {}
        self._names: set[str] = {node.name for node in graph.nodes}
        self.barriers: list[str] = []

    def behind(self, ref: TensorRef, tensor: Any) -> Any:
        """Return what stands for a tensor in what follows."""
        node = self._graph.nodes[ref.node]
        if not keras.backend.is_float_dtype(tensor.dtype):
            return tensor
        if node.name in self._left_float:
            tensor = self.barrier(f"{node.name}_float", tensor)
        placed = self._placements.placed.get(ref)
        return tensor if placed is None else self._layer(placed)(tensor, observe=placed.of == ref)

    def before_joining(self, node: Node, position: int, tensor: Any) -> Any:
        """Return what a node that joins tensors takes for one of them: at the range of the whole, if it has none.

        Else the converter would give it the range of another one, in which it need not lie."""
        placed = joined_range(self._graph, TensorRef(node.index, 0), self._placements.placed)
        has_one = node.inputs[position] in self._placements.known
        if placed is None or has_one or not keras.backend.is_float_dtype(tensor.dtype):
            return tensor
        return self._layer(placed)(tensor, observe=False, in_file=True)

    def _layer(self, placed: Range) -> FakeQuant:
        if placed.of not in self._made:
            name = self._name(f"{self._graph.nodes[placed.of.node].name}_range")
            self._made[placed.of] = FakeQuant(placed.bounds, name=name)
        return self._made[placed.of]

    def barrier(self, name: str, tensor: Any) -> Any:
        """Return a tensor that no range is handed through."""
        if len(tensor.shape) == 1 or not keras.backend.is_float_dtype(tensor.dtype):
            return tensor
        self.barriers.append(self._name(name))
        return StaysFloat(name=self.barriers[-1])(tensor)

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name


class _Joined:
    """Calls what joins tensors on tensors of one range."""

    def __init__(self, calls: Sequence[Node], ranges: _Ranges) -> None:
        self._calls = iter(calls)  # in the order in which they are made
        self._ranges = ranges
        self._layer = copied(calls[0]).layer
        self.call = self._layer.call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        node, positions = next(self._calls), count()
        args, kwargs = _for_tensors(
            lambda tensor: self._ranges.before_joining(node, next(positions), tensor), (args, kwargs)
        )
        return self._layer(*args, **kwargs)


class _Apart:
    """Calls a layer without int8 kernels on tensors that no range comes through: else the converter would give integers
    to some of the operators in it, whose ranges nobody took."""

    def __init__(self, node: Node, ranges: _Ranges) -> None:
        self._layer = copied(node).layer
        self._weights = node.operation.get_weights()
        self._barrier = partial(ranges.barrier, f"{node.name}_from")
        self.call = self._layer.call  # for whom asks what arguments it takes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _for_tensors(self._barrier, (args, kwargs))
        outputs = self._layer(*args, **kwargs)
        set_weights(self._layer, self._weights)
        return outputs


def _for_tensors(change: Callable[[Any], Any], arguments: Any) -> Any:
    return keras.tree.map_structure(
        lambda value: change(value) if isinstance(value, keras.KerasTensor) else value, arguments
    )


def _quantized(node: Node) -> NewLayer:
    layer = node.operation
    made = QUANTIZED[type(layer)].from_config({**layer.get_config(), "name": node.name})
    return NewLayer(made, layer.get_weights())


def _left(graph: Graph, left_float: frozenset[str]) -> tuple[Skip, ...]:
    left = {}
    for node in graph.nodes:
        if role_of(node, left_float) == "float":
            kind = getattr(getattr(node.operation, "activation", None), "__name__", type(node.operation).__name__)
            why = "to be left in float" if node.name in left_float else f"no rule for {kind} in int8"
            left[node.name] = Skip(node.name, why)
    return tuple(left.values())
