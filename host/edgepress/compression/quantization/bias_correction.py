"""Bias correction: rounding shifts what a layer says on average, and its bias can take that back.

As in Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, with the
shift measured on data (their appendix D): layer by layer, each on what the corrected ones before it give.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.reader import Node, read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.quantization.layers import QuantizedWeights
from edgepress.compression.quantization.runs import Run, few_of
from edgepress.data import Split


def correct_biases(annotated: Any, sample: Split) -> Any:
    """Return a copy of an annotated model, whose ranges are set, with biases that undo the shift by rounding.

    Left as they are: layers without a bias, and shared ones, which have one bias for several shifts.

    Args:
        sample: training inputs.
    """
    model = copy_of(annotated)
    graph = read(model)
    inputs = few_of(sample).inputs
    exact, rounded = Run(graph, inputs), Run(graph, inputs)
    for node in graph.nodes:
        layer = node.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        wanted = exact.call(node, exact=True)
        if isinstance(layer, QuantizedWeights) and layer.bias is not None and len(graph.calls(node.name)) == 1:
            layer.bias.assign(layer.bias - _shift(node, exact, rounded))
        exact.put(node, wanted)
        rounded.put(node, rounded.call(node))
    return model


def _shift(node: Node, exact: Run, rounded: Run) -> Any:
    """By how much rounding moves each channel on average, before the activation."""
    layer = node.operation
    activation, layer.activation = layer.activation, None
    try:
        errors = np.asarray(rounded.call(node), np.float64) - np.asarray(exact.call(node, exact=True), np.float64)
    finally:
        layer.activation = activation
    return errors.mean(axis=tuple(range(errors.ndim - 1)))
