"""Which layers of student and teacher are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from edgepress.compression.graph.reader import Graph, Node, Shape, TensorRef
from edgepress.errors import CompressionError

_WITH_FEATURES = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
_PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)


@dataclass(frozen=True)
class Pair:
    """Names of a layer of the student and one of the teacher."""

    student: str
    teacher: str


def named_pairs(student: Graph, teacher: Graph, names: Mapping[str, str]) -> tuple[Pair, ...]:
    """Return the pairs that a recipe names, student's layer first.

    Raises:
        CompressionError: there is no such layer, or it is called more than once.
    """
    for whose, graph, wanted in (("student", student, names.keys()), ("teacher", teacher, names.values())):
        for name in wanted:
            calls = graph.calls(name)
            if len(calls) != 1:
                why = f"is called {len(calls)} times" if calls else f"does not exist; there are: {_listed(graph)}"
                raise CompressionError(f"layers: the {whose}'s layer {name!r} {why}")
    return tuple(Pair(*both) for both in names.items())


def pairs_by_size(student: Graph, teacher: Graph) -> tuple[Pair, ...]:
    """Return for each size of feature maps the last layers of both that give one of that size.

    Both take the same inputs, so that equal sizes are equal places, and the last layer is where a stage says what it
    found. Without feature maps in common: the layers that feed the outputs.

    Raises:
        CompressionError: there are no such layers.
    """
    last_of_student, last_of_teacher = _last_by_size(student), _last_by_size(teacher)
    pairs = tuple(
        Pair(last_of_student[size].name, last_of_teacher[size].name)
        for size in last_of_student
        if size in last_of_teacher
    )
    return pairs or embedding_pairs(student, teacher)


def embedding_pairs(student: Graph, teacher: Graph) -> tuple[Pair, ...]:
    """Return for each output the layers whose features it is made from.

    Raises:
        CompressionError: an output is made from no features, or from those of a layer that is called more than once.
    """
    found = [tuple(_embedding(graph, ref) for ref in graph.outputs) for graph in (student, teacher)]
    return tuple(dict.fromkeys(Pair(*names) for names in zip(*found, strict=True)))


def _last_by_size(graph: Graph) -> dict[Shape, Node]:
    """The last node for each size of feature maps; those of a single place, padded or learnt by nobody are left out."""
    last: dict[Shape, Node] = {}
    learnt: set[int] = set()
    for node in graph.nodes:
        has_kernel = any(len(weight.shape) > 1 for weight in getattr(node.operation, "weights", ()))
        if not has_kernel and not any(ref.node in learnt for ref in node.inputs):
            continue
        learnt.add(node.index)
        size = node.output_shapes[0][1:-1]
        once = len(node.output_shapes) == len(graph.calls(node.name)) == 1
        if once and size and set(size) != {1} and not isinstance(node.operation, _PADDING):
            last.pop(size, None)  # for the order of the last ones
            last[size] = node
    return {size: node for size, node in last.items() if not graph.is_output(node)}


def _embedding(graph: Graph, output: TensorRef) -> str:
    node = graph.nodes[output.node]
    while not isinstance(node.operation, _WITH_FEATURES) and len(node.inputs) == 1:
        node = graph.nodes[node.inputs[0].node]
    if isinstance(node.operation, _WITH_FEATURES):
        node = graph.nodes[node.inputs[0].node]
    if not node.inputs or len(graph.calls(node.name)) > 1:
        raise CompressionError(
            f"no layer of the model {graph.name!r} gives features to compare (before its output, {node.name!r}, "
            'there are none of its own): name layers of both, layers = { "student_layer" = "teacher_layer" }'
        )
    return node.name


def _listed(graph: Graph) -> str:
    names = [name for name, layer in graph.layers().items() if not isinstance(layer, keras.layers.InputLayer)]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
