"""Why a layer loses accuracy in int8, where that can be told from what it reads, and whether data are prepared wrongly.

One scale serves a whole tensor of activations, so what breaks int8 is a tensor of which a small part needs nearly all
of the range. Which part it is tells what to do about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.data import Split
from edgepress.training.evaluate import predict
from edgepress.training.metrics import Metric

Array = NDArray[Any]

PREPROCESSING = "preprocessing"
SCALES = "channel scales"
OUTLIER = "outlier channel"
CONCAT = "wide concatenation"
GATE = "gate"
KERNEL = "kernel"

_ALONE = 8.0  # times the second largest channel
_APART = 16.0  # the largest to the median channel, or one part of a concatenation to another
_RANGES_APART = 100.0  # filters of one kernel
_LEVELS = 256
_FEW_LEVELS = 24  # of the 256 that a fixed range has
_OF_THE_KERNEL = 0.7
_SAMPLES = 512
_SURE = 4.0  # standard errors


@dataclass(frozen=True)
class Cause:
    """Why int8 is worse than float somewhere.

    Attributes:
        kind: one of the names in this module.
        layers: the layer that loses, and those that make what it reads.
        what: a sentence with the numbers.
        remedy: what may help.
    """

    kind: str
    layers: tuple[str, ...]
    what: str
    remedy: str


@dataclass(frozen=True, eq=False)
class Reading:
    """A tensor that a layer reads in int8.

    Attributes:
        peaks: largest magnitude of each channel, in float.
        low, high: the range that 256 levels are spread over.
        is_fixed: TFLite prescribes the range.
        makers: names of the layers that made it: several for a concatenation, in its order.
        widths: how many channels each of them made.
        filter_ranges: largest weight of each filter of the maker, if there is one and it has a kernel.
    """

    peaks: Array
    low: float
    high: float
    is_fixed: bool
    makers: tuple[str, ...]
    widths: tuple[int, ...]
    filter_ranges: Array | None


def cause_of(layer: str, readings: Sequence[Reading], kernel_share: float) -> Cause | None:
    """Say why a layer's output is wrong, None where nothing stands out.

    Args:
        kernel_share: how much of the error is there when only the weights are rounded.
    """
    looks = (_gate, _outlier, _concatenation, _scales)
    found = (look(layer, reading) for look in looks for reading in readings)
    for cause in found:
        if cause is not None:
            return cause
    if kernel_share < _OF_THE_KERNEL:
        return None
    return Cause(
        KERNEL,
        (layer,),
        f"{layer}: rounding its weights alone makes an error of {kernel_share:.0%} of that of all rounding",
        "train with rounding (qat), or leave the layer in float",
    )


def _gate(layer: str, reading: Reading) -> Cause | None:
    levels = _LEVELS * float(reading.peaks.max(initial=0)) / (reading.high - reading.low)
    if not reading.is_fixed or levels >= _FEW_LEVELS:
        return None
    return Cause(
        GATE,
        (layer, *reading.makers),
        f"{layer} reads {reading.makers[0]}, whose values reach {reading.peaks.max():.2g} where TFLite "
        f"prescribes a range of {reading.low:g} to {reading.high:g}: {max(1, round(levels))} of 256 levels are used",
        "leave the gate and its product in float, or train with rounding (qat)",
    )


def _outlier(layer: str, reading: Reading) -> Cause | None:
    if len(reading.peaks) < 2:
        return None
    *_, second, largest = np.sort(reading.peaks)
    if largest < _ALONE * second or not second:
        return None
    channel = int(reading.peaks.argmax())
    maker, number = _maker_of(reading, channel)
    return Cause(
        OUTLIER,
        (layer, maker),
        f"channel {number} of {maker}, which {layer} reads, reaches {largest:.3g}; the next largest {second:.3g}: "
        f"all others share {max(1, round(_LEVELS * second / largest))} of 256 levels",
        "equalization, where the activation between them allows it; else leave the layer in float",
    )


def _concatenation(layer: str, reading: Reading) -> Cause | None:
    if len(reading.makers) < 2:
        return None
    parts = np.split(reading.peaks, np.cumsum(reading.widths)[:-1])
    ranges = np.array([part.max(initial=0) for part in parts])
    loud, quiet = int(ranges.argmax()), int(np.where(ranges > 0, ranges, math.inf).argmin())
    if ranges[loud] < _APART * ranges[quiet]:
        return None
    return Cause(
        CONCAT,
        (layer, *reading.makers),
        f"{layer} reads {' and '.join(reading.makers)} side by side, in one range: {reading.makers[loud]} reaches "
        f"{ranges[loud]:.3g}, {reading.makers[quiet]} {ranges[quiet]:.3g}",
        "equalization, where the activations before it allow it; else leave the layer in float",
    )


def _scales(layer: str, reading: Reading) -> Cause | None:
    alive = reading.peaks[reading.peaks > 0]
    apart = float(alive.max() / np.median(alive)) if len(alive) > 1 else 1.0
    filters = reading.filter_ranges[reading.filter_ranges > 0] if reading.filter_ranges is not None else alive[:0]
    filters_apart = float(filters.max() / filters.min()) if len(filters) > 1 else 1.0
    if apart < _APART and filters_apart < _RANGES_APART:
        return None
    maker = reading.makers[0]
    of_filters = f", the ranges of its filters are {filters_apart:.0f}x apart" if filters_apart >= _RANGES_APART else ""
    return Cause(
        SCALES,
        (layer, *reading.makers),
        f"channels of {maker}, which {layer} reads, reach {alive.min():.2g} to {alive.max():.3g} in one range"
        + of_filters,
        "equalization, where the activation between them allows it; else train with rounding (qat)",
    )


def _maker_of(reading: Reading, channel: int) -> tuple[str, int]:
    """The layer that made a channel, and its number there."""
    for maker, width in zip(reading.makers, reading.widths, strict=True):
        if channel < width:
            return maker, channel
        channel -= width
    return reading.makers[-1], channel


@dataclass(frozen=True)
class Preparation:
    """A way to prepare inputs, as people do it: ``words``, and what it does."""

    words: str
    apply: Callable[[Array], Array]


PREPARATIONS = (
    Preparation("divided by 255", lambda x: x / 255),
    Preparation("times 255", lambda x: x * 255),
    Preparation("from 0..1 to -1..1", lambda x: 2 * x - 1),
    Preparation("from -1..1 to 0..1", lambda x: (x + 1) / 2),
    Preparation("from 0..255 to -1..1", lambda x: x / 127.5 - 1),
    Preparation("from -1..1 to 0..255", lambda x: (x + 1) * 127.5),
)
"""What is tried where calibration data are not what a model knows."""


@dataclass(frozen=True)
class Mismatch:
    """Calibration data that the model was not trained with.

    Attributes:
        cause: in words.
        preparation: what makes of them what the model knows; None where nothing did.
    """

    cause: Cause
    preparation: Preparation | None

    def repaired(self, split: Split) -> Split:
        """Return a split with inputs that the model knows, as they are where nothing is known to help."""
        return split if self.preparation is None else Split(_prepared(split, self.preparation), split.targets)


def preprocessing_mismatch(
    model: Any, calibration: Split, val: Split, metric: Metric, seed: int = 0
) -> Mismatch | None:
    """Find out whether calibration data are prepared otherwise than the data that the model knows.

    The float model is to answer them as well as validation data: that shows any difference that matters, and none that
    does not. If it does not, the ways in which people prepare inputs are tried on them.

    Returns:
        None where they are alike.
    """
    sample = calibration.sample(min(_SAMPLES, len(calibration)), seed)
    sign = 1.0 if metric.higher_is_better else -1.0

    def scores(split: Split, inputs: Sequence[Array]) -> Array:
        return sign * np.asarray(metric.scores(predict(model, inputs), split.targets))

    wanted_scores = scores(val, val.inputs)
    found_scores = scores(sample, sample.inputs)
    wanted, found = float(wanted_scores.mean()), float(found_scores.mean())
    error = math.hypot(*(float(x.std()) / math.sqrt(len(x)) for x in (wanted_scores, found_scores)))
    if wanted - found <= _SURE * max(error, 1e-9):
        return None
    tried = [(float(scores(sample, _prepared(sample, one)).mean()), one) for one in PREPARATIONS]
    best, preparation = max(tried, key=lambda one: one[0])
    helps = best - found >= 0.5 * (wanted - found) and wanted - best <= 2 * _SURE * error
    reached = f"; {preparation.words} they give {sign * best:.3f}" if helps else ""
    cause = Cause(
        PREPROCESSING,
        (),
        f"the float model has {metric.name} {sign * found:.3f} on the calibration data ({_span(sample)}) and "
        f"{sign * wanted:.3f} on the validation data ({_span(val)}){reached}",
        "prepare calibration data as the model's training data were",
    )
    return Mismatch(cause, preparation if helps else None)


def _prepared(split: Split, preparation: Preparation) -> tuple[Array, ...]:
    """Inputs prepared once more; whole numbers, which are pictures as they came or no pictures, stay."""
    return tuple(preparation.apply(x).astype(x.dtype) if x.dtype.kind == "f" else x for x in split.inputs)


def _span(split: Split) -> str:
    return f"{min(float(x.min()) for x in split.inputs):.3g} to {max(float(x.max()) for x in split.inputs):.3g}"
