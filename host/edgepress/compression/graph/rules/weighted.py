"""Layers that make channels, and layers with weights for each channel."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.channels import Binding, Call, Constants, Labels, Reads, Weights
from edgepress.compression.graph.rules.registry import activated, channel_rule

_layers = keras.layers


@channel_rule(_layers.InputLayer)
def _input(call: Call) -> Binding:
    shape = call.output_shapes[0]
    labels = call.make((shape[-1] if len(shape) > 1 else 0) or 0)
    call.freeze(labels, "it meets an input of the model")
    return Binding((labels,))


@channel_rule(_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
def _convolution(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    groups, space = layer.groups, (None,) * len(layer.kernel_size)
    pointwise = all(size == 1 for size in layer.kernel_size)
    if groups > 1 and groups == len(inputs):  # a depthwise convolution by another name
        outputs = np.repeat(inputs, layer.filters // groups)
        activation = activated(call, outputs)
        return Binding(
            (outputs,),
            ((*space, None, outputs), *_bias(layer, outputs)),
            lambda count: {"filters": count(outputs), "groups": count(inputs)},
            constant=_zero_then(activation, len(outputs)),
        )
    outputs = call.make(layer.filters)
    if groups > 1:  # as many in each group: the channels at the same place of all groups go together
        for labels in (inputs, outputs):
            call.tie(*labels.reshape(groups, -1))
    return Binding(
        (outputs,),
        ((*space, inputs[: len(inputs) // groups], outputs), *_bias(layer, outputs)),
        lambda count: {"filters": count(outputs)},
        makes=outputs,
        constant=_zero_then(activated(call, outputs), len(outputs)),
        reads=Reads(1 if layer.use_bias else None, pointwise or layer.padding == "valid") if groups == 1 else None,
    )


@channel_rule(_layers.Dense)
def _dense(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(layer.units)
    return Binding(
        (outputs,),
        ((inputs, outputs), *_bias(layer, outputs)),
        lambda count: {"units": count(outputs)},
        makes=outputs,
        constant=_zero_then(activated(call, outputs), len(outputs)),
        reads=Reads(1 if layer.use_bias else None, everywhere=True),
    )


@channel_rule(_layers.EinsumDense)
def _einsum_dense(call: Call) -> Binding | None:
    """Equations that are a Dense layer on the last axis, such as ``abc,cd->abd``."""
    layer, (inputs,) = call.layer, call.inputs
    given, kernel, result = re.split(",|->", layer.equation.replace("...", "."))
    if len(kernel) != 2 or given[-1:] + result[-1:] != kernel or given[:-1] != result[:-1]:
        return None
    if layer.bias_axes not in (None, kernel[1]):
        return None
    outputs = call.make(call.output_shapes[0][-1] or 0)  # never open: the kernel has a size
    shape = layer.get_config()["output_shape"]
    has_bias = layer.bias_axes is not None
    return Binding(
        (outputs,),
        ((inputs, outputs), *(((outputs,),) if has_bias else ())),
        lambda count: {"output_shape": count(outputs) if isinstance(shape, int) else (*shape[:-1], count(outputs))},
        makes=outputs,
        constant=_zero_then(activated(call, outputs), len(outputs)),
        reads=Reads(1 if has_bias else None, everywhere=True),
    )


@channel_rule(_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)
def _transposed_convolution(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(layer.filters)
    space = (None,) * len(layer.kernel_size)
    return Binding(
        (outputs,),
        ((*space, outputs, inputs), *_bias(layer, outputs)),
        lambda count: {"filters": count(outputs)},
        makes=outputs,
        constant=_zero_then(activated(call, outputs), len(outputs)),
    )


@channel_rule(_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
def _depthwise(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = np.repeat(inputs, layer.depth_multiplier)
    space = (None,) * len(layer.kernel_size)
    return Binding(
        (outputs,),
        ((*space, inputs, None), *_bias(layer, outputs)),
        constant=_zero_then(activated(call, outputs), len(outputs)),
    )


@channel_rule(_layers.SeparableConv1D, _layers.SeparableConv2D)
def _separable(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(layer.filters)
    space = (None,) * len(layer.kernel_size)
    between = np.repeat(inputs, layer.depth_multiplier)
    return Binding(
        (outputs,),
        ((*space, inputs, None), (*space, between, outputs), *_bias(layer, outputs)),
        lambda count: {"filters": count(outputs)},
        makes=outputs,
        constant=_zero_then(activated(call, outputs), len(outputs)),
    )


@channel_rule(_layers.Embedding)
def _embedding(call: Call) -> Binding:
    outputs = call.make(call.layer.output_dim)
    return Binding(
        (outputs,),
        ((None, outputs),),
        lambda count: {"output_dim": count(outputs)},
        makes=outputs,
        constant=lambda _, __: np.zeros(len(outputs)),
    )


@channel_rule(_layers.LSTM, _layers.GRU, _layers.SimpleRNN)
def _recurrent(call: Call) -> Binding | None:
    """A unit whose weights are zero stays at 0: tanh(0) is what its state is mixed with."""
    layer = call.layer
    if len(call.inputs) != 1 or layer.stateful or layer.activation is not keras.activations.tanh:
        return None
    units = call.make(layer.units)
    kernel, *_ = layer.get_weights()
    gates = np.tile(units, kernel.shape[1] // layer.units)
    bias = layer.get_weights()[2:]
    return Binding(
        (units,) * len(call.output_shapes),
        ((call.inputs[0], gates), (units, gates), *((*(None,) * (b.ndim - 1), gates) for b in bias)),
        lambda count: {"units": count(units)},
        makes=units,
        constant=lambda _, __: np.zeros(len(units)),
    )


@channel_rule(_layers.BatchNormalization)
def _batch_norm(call: Call) -> Binding | None:
    layer, (inputs, *_) = call.layer, call.inputs
    if not _on_channels(layer.axis, call):
        return _not_on_channels(call)
    count = len(layer.get_weights())

    def constant(constants: Sequence[Constants], weights: Weights) -> Constants:
        beta = np.asarray(weights[-3], np.float64) if layer.center else np.zeros(len(inputs))
        return beta if layer.scale else np.where(constants[0] == 0, beta, np.nan)

    mean = count - 2
    zeroed = 0 if layer.scale else mean  # gamma, or the mean of what is 0 itself: beta is left
    keeps = tuple(index for index in range(count) if index != zeroed)
    return Binding((inputs,), ((inputs,),) * count, constant=constant, keeps=keeps)


@channel_rule(_layers.LayerNormalization)
def _layer_norm(call: Call) -> Binding | None:
    layer, (inputs,) = call.layer, call.inputs
    if not _on_channels(layer.axis, call) or getattr(layer, "rms_scaling", False):
        return None
    weights = ((inputs,),) * len(layer.get_weights())
    return Binding((inputs,), weights, over_channels=True)


@channel_rule(_layers.PReLU)
def _prelu(call: Call) -> Binding:
    (inputs,) = call.inputs
    shape = call.layer.get_weights()[0].shape
    if shape[-1] != len(inputs):
        return Binding((inputs,), ((None,) * len(shape),))
    return Binding((inputs,), ((*(None,) * (len(shape) - 1), inputs),))


def _bias(layer: Any, outputs: Labels) -> tuple[tuple[Labels], ...]:
    return ((outputs,),) if layer.use_bias else ()


def _on_channels(axis: Any, call: Call) -> bool:
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    rank = len(call.input_shapes[0])
    return len(axes) == 1 and axes[0] % rank == rank - 1


def _not_on_channels(call: Call) -> Binding:
    """A normalization of another axis: its weights are not the channels'."""
    (inputs, *_) = call.inputs
    call.freeze(inputs, f"{call.node.name} normalises axis {call.layer.axis}, not the channels")
    return Binding((inputs,))


def _zero_then(activation: Callable[[Constants], Constants], count: int) -> Callable[..., Constants]:
    """The constant of a channel whose weights are zero."""
    return lambda _, __: activation(np.zeros(count))
