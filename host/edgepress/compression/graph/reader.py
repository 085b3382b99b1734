"""Read a functional or Sequential Keras model as a plain list of nodes in topological order.

Nested models are flattened into the list. A layer that is called more than once (shared) is one layer with several
nodes. Operations that are no layers (``keras.ops`` on symbolic tensors) are nodes like any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.models.functional import Functional
from numpy.typing import NDArray

from edgepress.errors import ModelError

Shape = tuple[int | None, ...]

_MOVING = (
    *("Reshape", "Flatten", "Squeeze", "ExpandDims", "Permute", "Transpose", "Concatenate", "GetItem"),
    *("Identity", "Cast", "Dropout", "FakeQuant"),  # the last one rounds what the layer before it makes
)


@dataclass(frozen=True)
class TensorRef:
    """A tensor of the graph: output number ``output`` of node number ``node``."""

    node: int
    output: int


@dataclass(frozen=True, eq=False)
class Node:
    """One call of one operation.

    Attributes:
        index: its place in ``Graph.nodes``; every input has a smaller one.
        name: of the operation, unique in the graph for each operation; a shared layer's nodes have the same.
        operation: the layer, or a ``keras.ops`` operation. It belongs to the model that was read: not to be changed.
        args, kwargs: what it was called with; symbolic tensors stand there as :class:`TensorRef`.
        inputs: the references among ``args`` and ``kwargs``, in order.
        output_shapes: of each output, with the batch (None).
    """

    index: int
    name: str
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[TensorRef, ...]
    output_shapes: tuple[Shape, ...]

    @property
    def is_layer(self) -> bool:
        """Whether the operation is a layer (has a configuration, may have weights)."""
        return isinstance(self.operation, keras.layers.Layer)

    def argument(self, name: str) -> Any:
        """Return what the operation is called with by this name, in whatever order; None where that is nothing."""
        return inspect.signature(self.operation.call).bind(*self.args, **self.kwargs).arguments.get(name)


@dataclass(frozen=True, eq=False)
class Graph:
    """A model as a list of nodes.

    Attributes:
        inputs, outputs: in model order.
        input_structure, output_structure: the same references in the structure that the model is called with
            (a tensor, a list, a dict).
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    input_structure: Any
    output_structure: Any

    def consumers(self, node: Node) -> tuple[Node, ...]:
        """Nodes that read an output of ``node``, once each, in order."""
        return tuple(other for other in self.nodes if any(ref.node == node.index for ref in other.inputs))

    def makers(self, ref: TensorRef) -> Iterator[Node]:
        """Nodes that compute the numbers of a tensor: what only moves them, or puts them together, is passed over."""
        node = self.nodes[ref.node]
        kind = type(node.operation)
        is_linear = kind is keras.layers.Activation and node.operation.activation is keras.activations.linear
        if kind.__name__ in _MOVING or is_linear:
            for given in node.inputs:
                yield from self.makers(given)
        else:
            yield node

    def calls(self, name: str) -> tuple[Node, ...]:
        """All nodes of the operation called ``name``: more than one when it is shared."""
        return tuple(node for node in self.nodes if node.name == name)

    def layers(self) -> dict[str, Any]:
        """Each layer once, by name, in the order of its first call."""
        return {node.name: node.operation for node in self.nodes if node.is_layer}

    def is_output(self, node: Node) -> bool:
        """Whether an output of ``node`` is an output of the model."""
        return any(ref.node == node.index for ref in self.outputs)

    def shape_of(self, ref: TensorRef) -> Shape:
        """Shape of a tensor, with the batch (None)."""
        return self.nodes[ref.node].output_shapes[ref.output]

    def fed(self, arrays: Sequence[NDArray[Any]]) -> dict[TensorRef, Any]:
        """The inputs as tensors of the dtypes that the model takes, from one array for each, in model order."""
        return {
            ref: keras.ops.convert_to_tensor(array, self.nodes[ref.node].operation.dtype)
            for ref, array in zip(self.inputs, arrays, strict=True)
        }


def functional_of(model: Any) -> Any:
    """Return the functional graph behind a model, which is itself unless it is Sequential.

    Raises:
        ModelError: the model is subclassed, or a Sequential one without an input shape.
    """
    if isinstance(model, keras.Sequential):
        if model._functional is None:
            raise ModelError(
                f"model {model.name!r} is a Sequential without an input shape: "
                "make its first element a keras.Input(shape=...), or call it once on data before saving it"
            )
        return model._functional
    if not isinstance(model, Functional) or type(model).call is not Functional.call:
        raise ModelError(
            f"model {getattr(model, 'name', model)!r} is a subclassed model (class {type(model).__name__}): its graph "
            "is hidden in Python code. Build it with the functional API: "
            "inputs = keras.Input(...); model = keras.Model(inputs, outputs)"
        )
    return model


def read(model: Any) -> Graph:
    """Read a model.

    Raises:
        ModelError: it is no functional or Sequential model.
    """
    return _Reader().read(model)


class _Reader:
    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._names: dict[int, str] = {}  # by id of the operation
        self._taken: set[str] = set()

    def read(self, model: Any) -> Graph:
        functional = functional_of(model)
        tensors = self._read_nodes(functional, {}, prefix="")

        def reference(tensor: Any) -> Any:
            return tensors[id(tensor)]

        return Graph(
            name=model.name,
            nodes=tuple(self._nodes),
            inputs=tuple(reference(tensor) for tensor in functional.inputs),
            outputs=tuple(reference(tensor) for tensor in functional.outputs),
            input_structure=keras.tree.map_structure(reference, functional._inputs_struct),
            output_structure=keras.tree.map_structure(reference, functional._outputs_struct),
        )

    def _read_nodes(self, functional: Any, fed: dict[int, TensorRef], prefix: str) -> dict[int, TensorRef]:
        """Append the nodes of one model; ``fed`` holds the references that stand for a nested model's inputs."""
        tensors = dict(fed)
        for node in _in_order(functional):
            if all(id(tensor) in tensors for tensor in node.outputs):
                continue  # an input of a nested model
            args, kwargs = node.arguments.convert(lambda x: _as_reference(x, tensors))
            if _is_nested_model(node.operation):
                inner = functional_of(node.operation)
                given = [x for x in keras.tree.flatten(args or kwargs["inputs"]) if isinstance(x, TensorRef)]
                inner_fed = {id(tensor): ref for tensor, ref in zip(inner.inputs, given, strict=True)}
                inner_tensors = self._read_nodes(inner, inner_fed, prefix=f"{prefix}{node.operation.name}_")
                for tensor, inner_tensor in zip(node.outputs, inner.outputs, strict=True):
                    tensors[id(tensor)] = inner_tensors[id(inner_tensor)]
            else:
                self._append(node, args, kwargs, tensors, prefix)
        return tensors

    def _append(
        self, node: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: dict[int, TensorRef], prefix: str
    ) -> None:
        index = len(self._nodes)
        self._nodes.append(
            Node(
                index=index,
                name=self._name(node.operation, prefix),
                operation=node.operation,
                args=args,
                kwargs=kwargs,
                inputs=tuple(x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, TensorRef)),
                output_shapes=tuple(tuple(tensor.shape) for tensor in node.outputs),
            )
        )
        for position, tensor in enumerate(node.outputs):
            tensors[id(tensor)] = TensorRef(index, position)

    def _name(self, operation: Any, prefix: str) -> str:
        """Return the operation's own name; inside of nested models, prefixed by theirs where it is taken."""
        if id(operation) not in self._names:
            name = operation.name
            if name in self._taken:
                name = f"{prefix}{name}"
            suffix = 1
            unique = name
            while unique in self._taken:
                unique = f"{name}_{suffix}"
                suffix += 1
            self._taken.add(unique)
            self._names[id(operation)] = unique
        return self._names[id(operation)]


def _in_order(functional: Any) -> Iterator[Any]:
    """Keras nodes from inputs to outputs; the model's inputs first and in model order."""
    inputs = [tensor._keras_history.operation._inbound_nodes[0] for tensor in functional.inputs]
    yield from inputs
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        yield from (node for node in functional._nodes_by_depth[depth] if not node.is_input)


def _as_reference(value: Any, tensors: dict[int, TensorRef]) -> Any:
    return tensors[id(value)] if isinstance(value, keras.KerasTensor) else value


def _is_nested_model(operation: Any) -> bool:
    if isinstance(operation, keras.Sequential):
        return operation._functional is not None
    return isinstance(operation, Functional) and type(operation).call is Functional.call
