"""Students: where the model that learns comes from."""

from __future__ import annotations

from typing import Any

import keras

from edgepress.compression.distillation.depth import with_depth
from edgepress.compression.graph.reader import Graph, TensorRef, read
from edgepress.compression.graph.rebuild import NewLayer, rebuild, reconfigured
from edgepress.compression.recipe import Scale
from edgepress.compression.steps import Change
from edgepress.errors import CompressionError
from edgepress.training.seeds import seeded

_ROUND_TO = 8
_MINIMUM = 4

_SCALED = {  # layer class -> the setting that is its number of output features
    keras.layers.Conv1D: "filters",
    keras.layers.Conv2D: "filters",
    keras.layers.Conv3D: "filters",
    keras.layers.Conv1DTranspose: "filters",
    keras.layers.Conv2DTranspose: "filters",
    keras.layers.SeparableConv1D: "filters",
    keras.layers.SeparableConv2D: "filters",
    keras.layers.Dense: "units",
    keras.layers.LSTM: "units",
    keras.layers.GRU: "units",
}


def scaled(model: Any, scale: Scale, seed: int) -> tuple[Any, tuple[Change, ...]]:
    """Return an untrained model like ``model``, shallower and narrower, and what was changed.

    Depth: of residual blocks and layers that give what they were given in shape, the last ones are left out, so that of
    each shape a share of ``depth`` remains, the one that made it included. Width: filters and units, rounded to
    multiples of 8 (at least 4). Layers that make the model's outputs keep theirs.

    Raises:
        CompressionError: the graph cannot be scaled so.
    """
    graph = read(model)
    changed: list[Change] = []
    if scale.depth < 1:
        graph, left_out = with_depth(graph, scale.depth)
        changed += [Change(name, "left out") for name in left_out]
    outputs = _output_layers(graph)
    replacements: dict[str, list[NewLayer]] = {}
    with seeded(seed):
        for name, layer in graph.layers().items():
            setting = _SCALED.get(type(layer))
            if setting is None or name in outputs:
                continue
            before = getattr(layer, setting)
            after = _scaled(before, scale.width, getattr(layer, "groups", 1))
            if after != before:
                replacements[name] = [NewLayer(reconfigured(layer, **{setting: after}))]
                changed.append(Change(name, f"{before} -> {after} {setting}"))
        try:
            student = rebuild(graph, replacements, copy_weights=False)
        except CompressionError as error:
            raise CompressionError(
                f"this model cannot be scaled to a width of {scale.width:g} ({error}): give a student of your own, "
                'student = "small.keras"'
            ) from error
    return student, tuple(changed)


def _scaled(count: int, width: float, groups: int) -> int:
    multiple = _ROUND_TO if count * width >= _ROUND_TO else _MINIMUM
    if groups > 1:
        multiple = groups
    return min(count, max(multiple, round(count * width / multiple) * multiple))


def _output_layers(graph: Graph) -> set[str]:
    """Names of the layers whose number of features is the model's own: walked back from the outputs."""
    found: set[str] = set()
    waiting: list[TensorRef] = list(graph.outputs)
    seen: set[int] = set()
    while waiting:
        ref = waiting.pop()
        if ref.node in seen:
            continue
        seen.add(ref.node)
        node = graph.nodes[ref.node]
        if type(node.operation) in _SCALED:
            found.add(node.name)
        else:
            waiting.extend(node.inputs)
    return found
