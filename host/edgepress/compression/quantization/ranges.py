"""Ranges of activations, taken from data.

``minmax``: the smallest and largest value seen. ``percentile``: what all but one in ten thousand lie between, on each
side, zeros not counted. ``mse``: where rounding and cutting off together err least in the mean of squares (as in
Krishnamoorthi 2018 and Nagel et al. 2021, "A White Paper on Neural Network Quantization"). The last two work on
histograms of 2,048 bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.quantization.annotate import annotate, fake_quants
from edgepress.compression.quantization.layers import FakeQuant, QuantizedWeights
from edgepress.data import Split
from edgepress.errors import CompressionError
from edgepress.training.evaluate import batches, flat
from edgepress_converters.options import Calibration

Array = NDArray[Any]
Ends = tuple[float, float]

_BINS = 2048
_OUTSIDE = 1e-4  # share of values beyond each end, of percentile
_STEPS = 255
_SHRUNK = np.linspace(0.05, 1, 96)  # of the full range: candidates of mse


def with_int8_ranges(model: Any, inputs: Sequence[Array] | Array, *, calibration: Calibration = "minmax") -> Any:
    """Return a model to train for int8 in a fit of your own: it computes as its int8 file will.

    Save it when it is trained, and convert the file: its ranges are in it. Compile it anew: it is a copy.

    Args:
        inputs: training inputs to take the first ranges from, ``(n, ...)``, 200 of them, say; a sequence of arrays for
            several inputs.
        calibration: ``minmax``, ``percentile`` or ``mse``.

    Raises:
        CompressionError: the model has ranges already, or a tensor in it holds NaN or infinity. ModelError: it is no
            functional or Sequential model.
    """
    return set_ranges(annotate(model).model, [inputs] if isinstance(inputs, np.ndarray) else inputs, calibration)


def set_ranges(annotated: Any, samples: Sequence[Array], method: Calibration = "minmax") -> Any:
    """Return an annotated model with ranges taken from what flows through it, weights and activations not rounded.

    Args:
        samples: training inputs, one ``(n, ...)`` array per model input, in model order.
        method: see the module.

    Raises:
        CompressionError: a tensor holds NaN or infinity.
    """
    model = copy_of(annotated)
    layers = {name: layer for name, layer in fake_quants(model).items() if layer.bounds is None}
    ends = _extremes(model, layers, samples)
    if method != "minmax":
        choose = _inner if method == "percentile" else _least_error
        counts = _histograms(model, layers, samples, ends)
        ends = {name: choose(counts[name], *ends[name]) for name in layers}
    for name, layer in layers.items():
        layer.set_range(*ends[name])
    return model


@contextmanager
def not_rounding(model: Any, observers: dict[str, Callable[[Any], None]]) -> Iterator[None]:
    """Have a model compute in float, and show what flows through its ranges, by name of range.

    Only for calls of the model itself, outside of compiled functions.
    """
    layers = read(model).layers()
    try:
        for name, layer in layers.items():
            if isinstance(layer, FakeQuant):
                layer.observer = observers.get(name, _ignore)
            elif isinstance(layer, QuantizedWeights):
                layer.exact = True
        yield
    finally:
        for layer in layers.values():
            if isinstance(layer, FakeQuant):
                layer.observer = None
            elif isinstance(layer, QuantizedWeights):
                layer.exact = False


def _ignore(tensor: Any) -> None:
    del tensor


def _run(model: Any, samples: Sequence[Array], observers: dict[str, Callable[[Any], None]]) -> None:
    view = flat(model)
    with not_rounding(model, observers):
        for batch in batches(Split(tuple(samples), ())):
            view([keras.ops.convert_to_tensor(x) for x in batch.inputs], training=False)


def _extremes(model: Any, layers: dict[str, FakeQuant], samples: Sequence[Array]) -> dict[str, Ends]:
    ends = dict.fromkeys(layers, (0.0, 0.0))

    def observer(name: str) -> Callable[[Any], None]:
        def widen(tensor: Any) -> None:
            values = np.asarray(tensor)
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(low + high):
                raise CompressionError(f"no range can be taken for {name}: it is given NaN or infinity")
            ends[name] = min(ends[name][0], low), max(ends[name][1], high)

        return widen

    _run(model, samples, {name: observer(name) for name in layers})
    return ends


def _histograms(
    model: Any, layers: dict[str, FakeQuant], samples: Sequence[Array], ends: dict[str, Ends]
) -> dict[str, NDArray[np.int64]]:
    """Counts of values other than 0, which any range rounds exactly and of which a ReLU makes too many."""
    counts = {name: np.zeros(_BINS, np.int64) for name in layers}

    def observer(name: str) -> Callable[[Any], None]:
        def count(tensor: Any) -> None:
            values = np.asarray(tensor)
            counts[name] += np.histogram(values[values != 0], _BINS, ends[name])[0]

        return count

    _run(model, samples, {name: observer(name) for name in layers})
    return counts


def _inner(counts: NDArray[np.int64], low: float, high: float) -> Ends:
    total = counts.sum()
    if not total:
        return low, high
    edges = np.linspace(low, high, _BINS + 1)
    below = np.concatenate([[0], np.cumsum(counts)]) / total
    first, last = np.searchsorted(below, [_OUTSIDE, 1 - _OUTSIDE])
    return min(float(edges[max(first - 1, 0)]), 0.0), max(float(edges[last]), 0.0)


def _least_error(counts: NDArray[np.int64], low: float, high: float) -> Ends:
    """Both ends are drawn in together, and then each alone."""
    values = np.linspace(low, high, _BINS, endpoint=False) + (high - low) / (2 * _BINS)

    def error(ends: Ends) -> float:
        step = (ends[1] - ends[0]) / _STEPS
        if step <= 0:
            return np.inf
        zero = np.round(-ends[0] / step)
        rounded = (np.clip(np.round(values / step) + zero, 0, _STEPS) - zero) * step
        return float(counts @ np.square(rounded - values))

    best = min(((low * share, high * share) for share in _SHRUNK), key=error)
    best = min(((best[0] * share, best[1]) for share in _SHRUNK[::-1]), key=error)
    return min(((best[0], best[1] * share) for share in _SHRUNK[::-1]), key=error)
