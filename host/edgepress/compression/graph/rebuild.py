"""Build a functional model from a list of nodes, with some layers replaced."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import Graph, Node, TensorRef, read
from edgepress.errors import CompressionError


@dataclass(frozen=True, eq=False)
class NewLayer:
    """A layer to put in: not built yet, with the weights it is to get (in ``get_weights()`` order).

    ``weights`` None leaves it as it initialises itself."""

    layer: Any
    weights: Sequence[NDArray[Any]] | None = None


def reconfigured(layer: Any, /, **changes: Any) -> Any:
    """Return a fresh, unbuilt layer of the same class and configuration but for ``changes``.

    With changes, an initializer that is an array (pretrained embeddings) is left to the class: it has one shape only.

    Raises:
        CompressionError: the layer cannot be made anew from its configuration.
    """
    try:
        config = layer.get_config()
        known = {key: value for key, value in config.items() if not (changes and _is_array(value))}
        return type(layer).from_config({**known, **changes})
    except (ValueError, TypeError, NotImplementedError) as error:  # the last one: it says no configuration
        raise CompressionError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be made anew from its configuration: {_cause(error)}"
        ) from error


def _is_array(configured: Any) -> bool:
    """Whether this is the configuration of an initializer with a value for each weight."""
    if not isinstance(configured, dict) or configured.get("class_name") != "Constant":
        return False
    return not isinstance(configured["config"]["value"], int | float)


def rebuild(
    graph: Graph,
    replacements: Mapping[str, Sequence[NewLayer]] | None = None,
    *,
    copy_weights: bool = True,
    after: Callable[[TensorRef, Any], Any] | None = None,
) -> Any:
    """Build a new functional model from ``graph``.

    Nothing is shared with the model that was read: layers are made anew from their configuration, names and weights
    kept. A shared layer stays shared.

    Args:
        replacements: by name of a layer, what takes its place: one layer, or several called one after the other.
        copy_weights: False leaves layers that are not replaced with fresh weights.
        after: is shown each tensor as it is made, the model's inputs first, and returns what stands for it in what
            follows.

    Raises:
        CompressionError: the replaced layers do not fit the rest; the message names the first that does not.
    """
    replacements = replacements or {}
    unknown = set(replacements) - {node.name for node in graph.nodes}
    if unknown:
        raise CompressionError(f"no layer named {sorted(unknown)} in model {graph.name!r}")

    chains: dict[str, list[NewLayer]] = {}
    tensors: dict[TensorRef, Any] = {}
    inputs: dict[TensorRef, Any] = {}
    for node in graph.nodes:
        if node.name not in chains:
            chains[node.name] = list(replacements.get(node.name) or [copied(node, copy_weights)])
        outputs = _call(node, chains[node.name], tensors)
        for position, output in enumerate(keras.tree.flatten(outputs)):
            ref = TensorRef(node.index, position)
            if ref in graph.inputs:
                inputs[ref] = output
            tensors[ref] = after(ref, output) if after is not None else output

    model = keras.Model(
        keras.tree.map_structure(inputs.__getitem__, graph.input_structure),
        keras.tree.map_structure(tensors.__getitem__, graph.output_structure),
        name=graph.name,
    )
    for name, chain in chains.items():
        for new in chain:
            if new.weights is not None:
                _set_weights(name, new)
    return model


def untrained(
    graph: Graph,
    replacements: Mapping[str, Sequence[NewLayer]] | None = None,
    weights: Mapping[str, Sequence[NDArray[Any]]] | None = None,
) -> Any:
    """Build a model that has learnt nothing and can: with fresh weights, and no layer frozen.

    Only the statistics of Normalization layers, which say what the data are like, are taken over.

    Args:
        replacements: as those of :func:`rebuild`.
        weights: ``get_weights()`` by layer, for layers with other channels than the graph's; None: the graph's own.
    """
    model = rebuild(graph, replacements, copy_weights=False)
    known = weights or {name: layer.get_weights() for name, layer in graph.layers().items()}
    for name, layer in read(model).layers().items():
        layer.trainable = True
        if isinstance(layer, keras.layers.Normalization):
            set_weights(layer, known[name])
    return model


def copy_of(model: Any) -> Any:
    """Return a model of its own that computes the same: flattened, with copies of all weights, not compiled."""
    return rebuild(read(model))


def in_double(model: Any) -> Any:
    """Return a model of its own that computes the same in float64; integer inputs stay integers.

    Raises:
        CompressionError: a layer cannot be made anew in that type.
    """
    graph = read(model)
    doubled = {}
    for name, layer in graph.layers().items():
        if not isinstance(layer, keras.layers.InputLayer) or "float" in layer.dtype:
            doubled[name] = [NewLayer(reconfigured(layer, name=name, dtype="float64"), layer.get_weights())]
    return rebuild(graph, doubled)


def copied(node: Node, copy_weights: bool = True) -> NewLayer:
    """Return a layer or operation like that of a node: unbuilt, of its name, with its weights or without."""
    operation = node.operation
    fresh = reconfigured(operation)
    fresh.name = node.name  # not all classes take it
    weights = operation.get_weights() if node.is_layer and copy_weights else None
    return NewLayer(fresh, weights)


def _call(node: Node, chain: Sequence[NewLayer], tensors: dict[TensorRef, Any]) -> Any:
    if isinstance(node.operation, keras.layers.InputLayer):
        return chain[0].layer.output

    def fill(value: Any) -> Any:
        return tensors[value] if isinstance(value, TensorRef) else value

    args = keras.tree.map_structure(fill, node.args)
    kwargs = keras.tree.map_structure(fill, node.kwargs)
    first, *rest = (new.layer for new in chain)
    try:
        outputs = first(*args, **_accepted(first, node, kwargs))
        for layer in rest:
            outputs = layer(outputs)
    except (ValueError, TypeError) as error:
        raise CompressionError(
            f"layer {node.name!r} ({type(node.operation).__name__}) does not fit its new inputs: {_cause(error)}"
        ) from error
    return outputs


def _cause(error: Exception) -> str:
    """The sentence in a Keras error that says what is wrong, without its colours and its list of arguments."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    sentences = [part.strip() for part in text.split("\n\n") if not part.startswith("Exception encountered")]
    return (sentences or [text])[0]


def _accepted(layer: Any, node: Node, kwargs: dict[str, Any]) -> dict[str, Any]:
    """A layer of another class may not know arguments such as BatchNormalization's ``mask``."""
    if type(layer) is type(node.operation):
        return kwargs
    known = inspect.signature(layer.call).parameters
    return {name: value for name, value in kwargs.items() if name in known}


def set_weights(layer: Any, weights: Sequence[NDArray[Any]]) -> None:
    """Give a layer weights, in ``get_weights()`` order, and have it take notice of them."""
    layer.set_weights(list(weights))
    if isinstance(layer, keras.layers.Normalization):  # it computes with copies
        layer.finalize_state()


def _set_weights(name: str, new: NewLayer) -> None:
    weights = [np.asarray(weight) for weight in new.weights or ()]
    expected = [tuple(weight.shape) for weight in new.layer.weights]
    given = [weight.shape for weight in weights]
    if expected != given:
        raise CompressionError(f"layer {name!r} was rebuilt with weights of shapes {expected} but is to get {given}")
    set_weights(new.layer, weights)
