"""The largest ranks that a device runs faster than the layer as it is.

Each layer is put into a file of its own, whole and at some ranks, and all files are measured in one session. Layers of
one shape are measured once.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from edgepress.benchmarking.comparison import Claim, compare_runs
from edgepress.benchmarking.floor import session_floor
from edgepress.compression.factorization.decomposition import Decomposition, Ranks, shown
from edgepress.compression.steps import Judge, StepContext, channel_multiple
from edgepress.conversion import convert_model
from edgepress.errors import ConversionError, DeviceError, JobError
from edgepress_converters.pool import WorkerPool

if TYPE_CHECKING:
    from edgepress.compression.graph.rebuild import NewLayer
    from edgepress_agent.protocol.messages import RunReport
    from edgepress_converters.model import TFLiteModel

_CANDIDATES = 6  # of a layer: their files are measured one by one
_DEFAULT_SHARE = 0.5  # of the layer's multiplications, where nothing is measured
_CALIBRATION = 16
_SETTINGS = ("kernel_size", "strides", "padding", "dilation_rate", "equation", "use_bias", "activation")

Choice = tuple[Ranks | None, str]
"""Ranks, or None for a layer that is left whole; and why."""


def fastest(decompositions: Mapping[str, Decomposition], context: StepContext) -> tuple[dict[str, Choice], str]:
    """Return, for each layer, the largest ranks at which the device is faster, and a sentence for the report.

    Ranks are multiples of what the device's kernels like. Without a device, and where it cannot say, they are the
    largest that halve the layer's multiplications.
    """
    multiple = channel_multiple(context.judge, context.conversion.format)
    options = {name: candidates(one, multiple) for name, one in decompositions.items()}
    why = "no device was named"
    if context.judge is not None:
        try:
            choices = _measured(decompositions, options, context, context.judge)
        except (DeviceError, ConversionError) as error:
            why = str(error)
        else:
            return choices, f"ranks chosen by what {context.judge.device} measured, layer by layer"
    return _by_formula(decompositions, options), f"ranks halve the multiplications, not measured: {why}"


def candidates(decomposition: Decomposition, multiple: int) -> tuple[Ranks, ...]:
    """Return ranks that multiply less than the whole layer, in multiples where that is possible, descending."""
    largest = max(decomposition.full)
    found: dict[Ranks, None] = {}
    for rank in range(largest, 0, -1):
        share = rank / largest
        ranks = tuple(_rounded(full * share, full, multiple) for full in decomposition.full)
        if decomposition.whole.macs and decomposition.shrinks(ranks):
            found[ranks] = None
    return tuple(found)


def _rounded(rank: float, full: int, multiple: int) -> int:
    return min(full, max(1, int(rank) // multiple) * multiple)


def _by_formula(
    decompositions: Mapping[str, Decomposition], options: Mapping[str, tuple[Ranks, ...]]
) -> dict[str, Choice]:
    choices: dict[str, Choice] = {}
    for name, one in decompositions.items():
        halving = [ranks for ranks in options[name] if one.cost(ranks).macs <= _DEFAULT_SHARE * one.whole.macs]
        choices[name] = (halving[0], "") if halving else (None, "no rank halves its multiplications")
    return choices


def _measured(
    decompositions: Mapping[str, Decomposition],
    options: Mapping[str, tuple[Ranks, ...]],
    context: StepContext,
    judge: Judge,
) -> dict[str, Choice]:
    keys: dict[str, str] = {}
    files: dict[tuple[str, Ranks | None], TFLiteModel] = {}
    with tempfile.TemporaryDirectory(prefix="edgepress-") as scratch, _pool(context) as pool:
        for name, one in decompositions.items():
            some = _spread(options[name])
            if not some or None in one.calls[0].given[1:]:
                continue
            keys[name] = repr((one.describe(one.full), one.calls[0], _settings(one.layer)))
            for ranks in (None, *some):
                if (keys[name], ranks) not in files:
                    path = Path(scratch) / f"{len(files)}.tflite"
                    files[keys[name], ranks] = _file_of(one, ranks, path, context, pool)
        runs = dict(zip(files, judge.measure(list(files.values())), strict=True)) if files else {}
    floor = session_floor(judge.device)
    return {name: _choose(keys.get(name), runs, options[name], floor) for name in decompositions}


def _pool(context: StepContext) -> AbstractContextManager[WorkerPool]:
    return WorkerPool() if context.pool is None else nullcontext(context.pool)


def _spread(options: Sequence[Ranks]) -> list[Ranks]:
    """Some of the options, from the first to the last."""
    places = np.linspace(0, len(options) - 1, min(_CANDIDATES, len(options))).round().astype(int)
    return [options[place] for place in places]


def _settings(layer: Any) -> dict[str, Any]:
    config = layer.get_config()
    return {key: config[key] for key in _SETTINGS if key in config}


def _file_of(
    decomposition: Decomposition, ranks: Ranks | None, path: Path, context: StepContext, pool: WorkerPool
) -> TFLiteModel:
    """One layer, or what stands for it, as a model."""
    given = decomposition.calls[0].given
    inputs = keras.Input(given[1:], dtype="float32")
    if ranks is None:
        layer = type(decomposition.layer).from_config(decomposition.layer.get_config())
        model = keras.Model(inputs, layer(inputs))
        layer.set_weights(decomposition.layer.get_weights())
    else:
        model = _chain(inputs, decomposition.layers(ranks))
    options = dataclasses.replace(context.conversion, sparse=False)
    generator = np.random.default_rng(context.seed)
    calibration = [generator.normal(size=(_CALIBRATION, *model.input_shape[1:])).astype(np.float32)]
    return convert_model(model, path, options, calibration, pool)


def _chain(inputs: Any, chain: Sequence[NewLayer]) -> Any:
    outputs = inputs
    for new in chain:
        outputs = new.layer(outputs)
        new.layer.set_weights(list(new.weights or ()))
    return keras.Model(inputs, outputs)


def _choose(
    key: str | None,
    runs: Mapping[tuple[str, Ranks | None], RunReport],
    options: Sequence[Ranks],
    floor: float | None,
) -> Choice:
    if key is None:
        return None, "no rank of it multiplies less" if not options else "its input has an open size: not measured"
    whole = runs[key, None]
    said = "no rank could be measured"
    for ranks in (ranks for of, ranks in runs if of == key and ranks is not None):
        try:
            comparison = compare_runs(whole, runs[key, ranks], floor)
        except JobError:
            continue
        if comparison.claim is Claim.FASTER:
            ratio = comparison.ratio
            return ranks, f"measured {ratio.value:.2f} of its latency ({ratio.low:.2f} to {ratio.high:.2f})"
        said = f"at rank {shown(ranks)}, the smallest tried, it takes {comparison.ratio.value:.2f} of its latency"
    return None, f"not faster on the device: {said}"
