"""Layers and operations that work on each number alone, or on the numbers of one place."""

from __future__ import annotations

import keras
import numpy as np
from keras.src import ops as operations

from edgepress.compression.graph.channels import Binding, Call
from edgepress.compression.graph.rules.registry import activated, applied, channel_rule

_layers = keras.layers


@channel_rule(
    _layers.ReLU,
    _layers.LeakyReLU,
    _layers.ELU,
    _layers.Dropout,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.SpatialDropout3D,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.AlphaDropout,
    _layers.ActivityRegularization,
    _layers.Identity,
    *(getattr(operations.nn, name) for name in ("Relu", "Relu6", "Sigmoid", "Silu", "HardSilu", "HardSigmoid")),
    *(getattr(operations.nn, name) for name in ("Gelu", "Elu", "Selu", "LeakyRelu", "Softplus", "Softsign")),
    *(getattr(operations.numpy, name) for name in ("Tanh", "Absolute", "Negative", "Square", "Sqrt", "Exp", "Clip")),
    operations.core.Cast,
)
def _elementwise(call: Call) -> Binding | None:
    (inputs,) = call.inputs
    operation = call.layer
    noise = getattr(operation, "noise_shape", None)  # of a dropout, whose sizes stay what they are
    if noise is not None and any(size not in (None, 1) for size in noise):
        return None
    return Binding((inputs,), constant=lambda constants, _: applied(operation.call, constants[0]), moved=call.moved)


@channel_rule(_layers.Activation)
def _activation(call: Call) -> Binding:
    (inputs,) = call.inputs
    function = activated(call, inputs)
    return Binding((inputs,), constant=lambda constants, _: function(constants[0]), moved=call.moved)


@channel_rule(_layers.Softmax, operations.nn.Softmax)
def _softmax(call: Call) -> Binding | None:
    (inputs, *_) = call.inputs
    axis = call.layer.axis
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    rank = len(call.input_shapes[0])
    if any(axis is None or axis % rank == rank - 1 for axis in axes):
        call.freeze(inputs, f"{call.node.name} (Softmax) mixes channels")
    return Binding((inputs,))


@channel_rule(_layers.Rescaling)
def _rescaling(call: Call) -> Binding | None:
    (inputs,) = call.inputs
    given = {"scale": call.layer.scale, "offset": call.layer.offset}
    per_channel = {name: value for name, value in given.items() if np.ndim(value)}
    if any(np.shape(value) != (len(inputs),) for value in per_channel.values()):
        return None
    return Binding(
        (inputs,),
        settings=lambda kept: {name: kept.of(inputs, value).tolist() for name, value in per_channel.items()},
        constant=lambda constants, _: constants[0] * np.asarray(given["scale"]) + np.asarray(given["offset"]),
        moved=call.moved,
    )


@channel_rule(_layers.PReLU)
def _prelu(call: Call) -> Binding:
    (inputs,) = call.inputs
    shape = call.layer.get_weights()[0].shape
    return Binding((inputs,), ((*(None,) * (len(shape) - 1), inputs if shape[-1] == len(inputs) else None),))
