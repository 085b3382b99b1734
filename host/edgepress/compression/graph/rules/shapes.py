"""Layers and operations that move channels, join them or work on each alone, without weights of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.src import ops as operations

from edgepress.compression.graph.channels import Binding, Call, Constants, Labels, Weights, not_constant
from edgepress.compression.graph.rules.registry import activated, applied, channel_rule

_layers = keras.layers


@channel_rule(
    _layers.ReLU,
    _layers.LeakyReLU,
    _layers.ELU,
    _layers.Dropout,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.AlphaDropout,
    _layers.ActivityRegularization,
    _layers.Identity,
    *(getattr(operations.nn, name) for name in ("Relu", "Relu6", "Sigmoid", "Silu", "HardSilu", "HardSigmoid")),
    *(getattr(operations.nn, name) for name in ("Gelu", "Elu", "Selu", "LeakyRelu", "Softplus", "Softsign")),
    *(getattr(operations.numpy, name) for name in ("Tanh", "Absolute", "Negative", "Square", "Exp", "Clip")),
)
def _elementwise(call: Call) -> Binding:
    (inputs,) = call.inputs
    operation = call.layer
    return Binding((inputs,), constant=lambda constants, _: applied(operation.call, constants[0]))


@channel_rule(_layers.Activation)
def _activation(call: Call) -> Binding:
    (inputs,) = call.inputs
    function = activated(call, inputs)
    return Binding((inputs,), constant=lambda constants, _: function(constants[0]))


@channel_rule(_layers.Softmax)
def _softmax(call: Call) -> Binding:
    (inputs, *_) = call.inputs
    axes = call.layer.axis if isinstance(call.layer.axis, list | tuple) else (call.layer.axis,)
    rank = len(call.input_shapes[0])
    if any(axis % rank == rank - 1 for axis in axes):
        call.freeze(inputs, f"{call.node.name} (Softmax) mixes channels")
    return Binding((inputs,))


@channel_rule(_layers.Rescaling)
def _rescaling(call: Call) -> Binding | None:
    (inputs,) = call.inputs
    scale, offset = call.layer.scale, call.layer.offset
    if np.ndim(scale) or np.ndim(offset):
        return None
    return Binding((inputs,), constant=lambda constants, _: constants[0] * scale + offset)


@channel_rule(
    *(getattr(_layers, f"{kind}Pooling{n}D") for n in (1, 2, 3) for kind in ("Max", "Average", "GlobalMax")),
    *(
        getattr(_layers, f"{kind}{n}D")
        for n in (1, 2, 3)
        for kind in ("GlobalAveragePooling", "UpSampling", "Cropping")
    ),
)
def _over_positions(call: Call) -> Binding:
    (inputs, *_) = call.inputs
    return Binding((inputs,), constant=lambda constants, _: constants[0])


@channel_rule(_layers.ZeroPadding1D, _layers.ZeroPadding2D, _layers.ZeroPadding3D)
def _zero_padding(call: Call) -> Binding:
    (inputs,) = call.inputs
    return Binding((inputs,), constant=lambda constants, _: np.where(constants[0] == 0, 0, np.nan))


@channel_rule(_layers.RepeatVector)
def _repeated(call: Call) -> Binding:
    return Binding((call.inputs[0],), constant=lambda constants, _: constants[0])


@channel_rule(_layers.Concatenate, operations.numpy.Concatenate)
def _concatenate(call: Call) -> Binding:
    rank = len(call.output_shapes[0])
    if call.layer.axis % rank == rank - 1:
        return Binding((np.concatenate(call.inputs),), constant=lambda constants, _: np.concatenate(list(constants)))
    call.tie(*call.inputs)
    return Binding((call.inputs[0],))


_MERGES: dict[type, Callable[[Sequence[Any]], Any]] = {
    _layers.Add: sum,
    _layers.Subtract: lambda values: values[0] - values[1],
    _layers.Multiply: lambda values: np.prod(np.broadcast_arrays(*values), axis=0),
    _layers.Average: lambda values: sum(values) / len(values),
    _layers.Maximum: lambda values: np.max(np.broadcast_arrays(*values), axis=0),
    _layers.Minimum: lambda values: np.min(np.broadcast_arrays(*values), axis=0),
    operations.numpy.Add: sum,
    operations.numpy.Subtract: lambda values: values[0] - values[1],
    operations.numpy.Multiply: lambda values: np.prod(np.broadcast_arrays(*values), axis=0),
    operations.numpy.Divide: lambda values: values[0] / values[1],
    operations.numpy.TrueDivide: lambda values: values[0] / values[1],
    operations.numpy.Maximum: lambda values: np.max(np.broadcast_arrays(*values), axis=0),
    operations.numpy.Minimum: lambda values: np.min(np.broadcast_arrays(*values), axis=0),
}


@channel_rule(*_MERGES)
def _merge(call: Call) -> Binding | None:
    """Channels at the same place go together. One channel that is spread over all others is not tied to them."""
    operands = _operands(call)
    if operands is None or call.output_shapes[0][-1] is None:
        return None
    count = call.output_shapes[0][-1]
    whole = [labels for labels in call.inputs if len(labels) == count]
    if not whole:
        return None
    for labels in call.inputs:
        if len(labels) != count:
            call.freeze(labels, f"{call.node.name} spreads it over several channels")
    call.tie(*whole)
    merge = _MERGES[type(call.layer)]

    def constant(constants: Sequence[Constants], _: Weights) -> Constants:
        spread = iter([values if len(values) == count else not_constant(count) for values in constants])
        values = [next(spread) if operand is None else np.full(count, operand) for operand in operands]
        with np.errstate(all="ignore"):
            merged = np.asarray(merge(values), np.float64)
        return np.where(np.isfinite(merged), merged, np.nan)

    return Binding((whole[0],), constant=constant)


def _operands(call: Call) -> list[float | None] | None:
    """For each operand None if it is a tensor, else its number; None where there is an operand of another kind."""
    found: list[float | None] = []
    for value in keras.tree.flatten(call.node.args):
        if type(value).__name__ == "TensorRef":
            found.append(None)
        elif np.ndim(value) == 0 and isinstance(value, int | float | np.number):
            found.append(float(value))
        else:
            return None
    return found if found.count(None) == len(call.inputs) else None


@channel_rule(_layers.Flatten)
def _flatten(call: Call) -> Binding | None:
    """The channel is the fastest index: position * channels + channel (channels_last)."""
    return _reshaped(call, lambda _: {})


@channel_rule(_layers.Reshape)
def _reshape(call: Call) -> Binding | None:
    target = tuple(call.layer.target_shape)
    outputs: list[Labels] = []

    def settings(count: Callable[[Labels], int]) -> dict[str, Any]:
        return {"target_shape": (*target[:-1], target[-1] if target[-1] == -1 else count(outputs[0]))}

    binding = _reshaped(call, settings)
    if binding is not None:
        outputs.extend(binding.outputs)
    return binding


def _reshaped(call: Call, settings: Callable[[Callable[[Labels], int]], dict[str, Any]]) -> Binding | None:
    """Row-major order: the channel is an element's number modulo the size of the last axis, before and after."""
    (inputs,) = call.inputs
    before, after = len(inputs), call.output_shapes[0][-1]
    if not before or not after:
        return None
    if after % before == 0:
        times = after // before
        return Binding(
            (np.tile(inputs, times),), settings=settings, constant=lambda constants, _: np.tile(constants[0], times)
        )
    if before % after == 0:  # a vector that becomes a picture: a channel is taken from all of its positions
        rows = inputs.reshape(-1, after)
        call.tie(*rows)
        return Binding((rows[0],), settings=settings)
    return None


@channel_rule(_layers.Permute)
def _permute(call: Call) -> Binding | None:
    dims = call.layer.dims
    if dims[-1] != len(dims):
        return None
    return Binding((call.inputs[0],), constant=lambda constants, _: constants[0])


@channel_rule(operations.numpy.GetItem)
def _slice(call: Call) -> Binding | None:
    """Slices of positions; a slice of channels has no rule."""
    (inputs,) = call.inputs
    key = call.node.args[1] if len(call.node.args) > 1 else call.node.kwargs.get("key")
    parts = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, slice) for part in parts) or len(parts) >= len(call.input_shapes[0]):
        return None
    return Binding((inputs,), constant=lambda constants, _: constants[0])
