"""Layers and operations over positions, that leave each channel to itself."""

from __future__ import annotations

import keras
import numpy as np
from keras.src import ops as operations

from edgepress.compression.graph.channels import Binding, Call
from edgepress.compression.graph.rules.registry import channel_rule

_layers = keras.layers


@channel_rule(
    *(getattr(_layers, f"{kind}Pooling{n}D") for n in (1, 2, 3) for kind in ("Max", "Average", "GlobalMax")),
    *(
        getattr(_layers, f"{kind}{n}D")
        for n in (1, 2, 3)
        for kind in ("GlobalAveragePooling", "UpSampling", "Cropping")
    ),
    _layers.RepeatVector,
)
def _over_positions(call: Call) -> Binding:
    (inputs, *_) = call.inputs
    return Binding((inputs,), constant=lambda constants, _: constants[0])


@channel_rule(_layers.Resizing)
def _resizing(call: Call) -> Binding:
    return Binding((call.inputs[0],))


@channel_rule(_layers.ZeroPadding1D, _layers.ZeroPadding2D, _layers.ZeroPadding3D)
def _zero_padding(call: Call) -> Binding:
    (inputs,) = call.inputs
    return Binding((inputs,), constant=lambda constants, _: np.where(constants[0] == 0, 0, np.nan))


@channel_rule(operations.numpy.Pad)
def _pad(call: Call) -> Binding | None:
    widths = call.layer.pad_width
    if len(widths) != len(call.input_shapes[0]) or any(widths[-1]):
        return None
    return Binding((call.inputs[0],))


@channel_rule(operations.numpy.Mean, operations.numpy.Max, operations.numpy.Min, operations.numpy.Sum)
def _reduced(call: Call) -> Binding | None:
    (inputs,), rank, axes = call.inputs, len(call.input_shapes[0]), call.layer.axis
    if axes is None or any(axis % rank == rank - 1 for axis in axes):
        return None
    if isinstance(call.layer, operations.numpy.Sum) or getattr(call.layer, "initial", None) is not None:
        return Binding((inputs,))  # as many times the constant as there are positions, or perhaps another number
    return Binding((inputs,), constant=lambda constants, _: constants[0])
