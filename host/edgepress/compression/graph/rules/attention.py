"""Attention with several heads, which live or die whole: what a head says is independent of the others."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.channels import Binding, Call, Kept, Labels
from edgepress.compression.graph.rules.registry import channel_rule

_layers = keras.layers


@channel_rule(_layers.MultiHeadAttention)
def _attention(call: Call) -> Binding | None:
    layer = call.layer
    if len(call.output_shapes) > 1 or len(layer.output_dense.kernel.shape) != 3:
        return None  # the scores are an output, with an axis of heads; or the output has several axes
    heads = call.make(layer.num_heads, "heads")
    outputs = call.make(call.output_shapes[0][-1] or 0, "units")
    return Binding(
        (outputs,),
        _weights(call, heads, heads, outputs),
        lambda kept: {"num_heads": kept(heads), "output_shape": (kept(outputs),)},
        makes={"heads": heads, "units": outputs},
        constant=lambda _, __: np.zeros(len(outputs)),
    )


@channel_rule(_layers.GroupQueryAttention)
def _grouped_attention(call: Call) -> Binding | None:
    """A head of keys and values goes with all heads of queries that it answers; the output is as wide as the query."""
    layer = call.layer
    if len(call.output_shapes) > 1:
        return None
    heads = call.make(layer.num_key_value_heads, "heads")
    queries = np.repeat(heads, layer.num_query_heads // layer.num_key_value_heads)
    outputs = call.make(call.output_shapes[0][-1] or 0, "units")
    call.tie(outputs, call.argument("query"))

    def settings(kept: Kept) -> dict[str, Any]:
        return {"num_key_value_heads": kept(heads), "num_query_heads": kept(queries)}

    return Binding(
        (outputs,),
        _weights(call, heads, queries, outputs),
        settings,
        makes={"heads": heads, "units": outputs},
        constant=lambda _, __: np.zeros(len(outputs)),
    )


def _weights(call: Call, heads: Labels, queries: Labels, outputs: Labels) -> tuple[tuple[Labels | None, ...], ...]:
    """Labels of kernels ``(inputs, heads, size)``, at the end ``(heads, size, outputs)``, and of their biases."""
    layer = call.layer
    query, value, key = (call.argument(name) for name in ("query", "value", "key"))
    for labels in call.inputs:
        if not any(labels is known for known in (query, value, key)):
            call.freeze(labels, f"{call.node.name} takes them for positions of a mask")
    projections = [
        (layer._query_dense, query, queries),
        (layer._key_dense, value if key is None else key, heads),
        (layer._value_dense, value, heads),
    ]
    if hasattr(layer, "_gate_dense"):
        projections.append((layer._gate_dense, query, queries))
    axes: dict[int, tuple[Labels | None, ...]] = {}
    for dense, inputs, made in projections:
        axes |= zip(map(id, dense.weights), ((inputs, made, None), (made, None)), strict=False)
    axes |= zip(map(id, layer._output_dense.weights), ((queries, None, outputs), (outputs,)), strict=False)
    return tuple(axes[id(weight)] for weight in layer.weights)
