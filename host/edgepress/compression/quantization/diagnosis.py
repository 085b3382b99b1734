"""Which layer loses accuracy in int8, and why: float against int8, layer by layer.

The *local* error of a layer is what rounding of its own weights and of what it reads does to its output; all before it
is exact. The *cumulative* error is what is wrong with its output when all before it is rounded, too. Both are root mean
squares relative to that of the exact output. A layer with a large local error is where accuracy is lost; one with a
large cumulative error only passes it on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.reader import Graph, Node, TensorRef, read
from edgepress.compression.quantization.causes import Cause, Reading, cause_of
from edgepress.compression.quantization.layers import FakeQuant, QuantizedWeights
from edgepress.compression.quantization.placement import role_of
from edgepress.compression.quantization.runs import Array, Run, channel_peaks, few_of
from edgepress.data import Split

HARMFUL = 0.05
"""Local errors from here on ask for a cause: honest layers have 0.01 to 0.02."""

_LAYERS = keras.layers


@dataclass(frozen=True)
class LayerError:
    """One layer in int8 against float.

    Attributes:
        layer, kind: its name and class.
        local, cumulative: relative root mean squares of the error, see the module.
        makers: names of the layers whose rounded outputs it reads.
        cause: why, where that is known.
    """

    layer: str
    kind: str
    local: float
    cumulative: float
    makers: tuple[str, ...] = ()
    cause: Cause | None = None

    @property
    def local_snr_db(self) -> float:
        """Signal to noise of the local error, in decibels; infinite without error."""
        return -20 * math.log10(self.local) if self.local else math.inf


@dataclass(frozen=True)
class Diagnosis:
    """Every layer that rounds something, in the order of the graph."""

    layers: tuple[LayerError, ...]

    @property
    def ranked(self) -> tuple[LayerError, ...]:
        """The layers, the largest local error first."""
        return tuple(sorted(self.layers, key=lambda one: -one.local))

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What was found, that of the worst layer first."""
        return tuple(one.cause for one in self.ranked if one.cause is not None)

    def as_json(self) -> dict[str, Any]:
        """JSON values; a ratio that is infinite is null."""
        return {
            "layers": [{**asdict(one), "local_snr_db": one.local_snr_db if one.local else None} for one in self.ranked]
        }


def diagnose(annotated: Any, sample: Split) -> Diagnosis:
    """Compare an annotated model, whose ranges are set, with itself without rounding, on training inputs, of which 128
    are looked at, or as many as 8 MiB hold."""
    graph = read(annotated)
    comparison = _Comparison(graph, sample)
    errors = [comparison.step(node) for node in graph.nodes]
    return Diagnosis(tuple(error for error in errors if error is not None))


class _Comparison:
    """Three runs of one graph beside each other: exact, each layer rounded alone, all rounded."""

    def __init__(self, graph: Graph, sample: Split) -> None:
        self._graph = graph
        inputs = few_of(sample).inputs
        self._exact, self._alone, self._all = (Run(graph, inputs) for _ in range(3))
        self._peaks: dict[TensorRef, Array] = {}

    def step(self, node: Node) -> LayerError | None:
        """Run a node; its errors if it is a layer that rounds or reads something rounded."""
        layer = node.operation
        if isinstance(layer, _LAYERS.InputLayer):
            return None
        exact, alone, rounded = self._exact.call(node, exact=True), self._alone.call(node), self._all.call(node)
        error = None
        if isinstance(layer, FakeQuant):
            self._peaks[node.inputs[0]] = channel_peaks(exact)
        elif role_of(node) == "moves":  # who reads it, reads what is before it
            pass
        elif isinstance(layer, QuantizedWeights) or any(self._rounding(ref) is not None for ref in node.inputs):
            error = self._judged(node, exact, alone, rounded)
            alone = exact  # what follows is to be wrong by its own fault only
        for run, outputs in ((self._exact, exact), (self._alone, alone), (self._all, rounded)):
            run.put(node, outputs)
        return error

    def _rounding(self, ref: TensorRef) -> Node | None:
        """What rounds a tensor, or what it was moved from; None where nothing does."""
        node = self._graph.nodes[ref.node]
        while role_of(node) == "moves":
            node = self._graph.nodes[node.inputs[0].node]
        return node if isinstance(node.operation, FakeQuant) else None

    def _judged(self, node: Node, exact: Any, alone: Any, rounded: Any) -> LayerError:
        local = _relative(alone, exact)
        readings = [reading for ref in node.inputs for reading in self._readings(ref)]
        makers = tuple(dict.fromkeys(maker for reading in readings for maker in reading.makers))
        error = LayerError(node.name, type(node.operation).__name__, local, _relative(rounded, exact), makers)
        if local < HARMFUL:
            return error
        share = 0.0
        if isinstance(node.operation, QuantizedWeights):
            share = _relative(self._exact.call(node), exact) / local
        return replace(error, cause=cause_of(node.name, readings, share))

    def _readings(self, ref: TensorRef) -> Iterator[Reading]:
        """What is known of a rounded tensor."""
        node = self._rounding(ref)
        if node is None:
            return
        quantizer = node.operation
        low, high = quantizer.bounds or (float(quantizer.minimum), float(quantizer.maximum))
        maker = self._maker(node.inputs[0])
        parts = [maker]
        if isinstance(maker.operation, _LAYERS.Concatenate):
            parts = [self._maker(part) for part in maker.inputs]
        kernel = getattr(maker.operation, "kernel", None)
        ranges = None
        if isinstance(maker.operation, QuantizedWeights) and kernel is not None and len(kernel.shape) > 1:
            ranges = channel_peaks(kernel)
        yield Reading(
            peaks=self._peaks[node.inputs[0]],
            low=low,
            high=high,
            is_fixed=quantizer.bounds is not None,
            makers=tuple(part.name for part in parts),
            widths=tuple(part.output_shapes[0][-1] or 1 for part in parts),
            filter_ranges=ranges,
        )

    def _maker(self, ref: TensorRef) -> Node:
        """The layer that a tensor's channels are from: past all that has one input and leaves channels as they are."""
        node = self._graph.nodes[ref.node]
        while (
            len(node.inputs) == 1
            and not isinstance(node.operation, QuantizedWeights)
            and node.output_shapes[0][-1] == self._graph.shape_of(node.inputs[0])[-1]
        ):
            node = self._graph.nodes[node.inputs[0].node]
        return node


def _relative(values: Any, exact: Any) -> float:
    """Root mean square of the difference, relative to that of the exact values; of all outputs together."""
    pairs = zip(keras.tree.flatten(values), keras.tree.flatten(exact), strict=True)
    arrays = [(np.asarray(value, np.float64), np.asarray(true, np.float64)) for value, true in pairs]
    error = sum(float(np.square(value - true).sum()) for value, true in arrays)
    power = sum(float(np.square(true).sum()) for _, true in arrays)
    return math.sqrt(error / power) if power else 0.0
