"""Layers that make channels with kernels, and layers with a kernel for each channel."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.channels import Binding, Call, Kept, Labels, Reads
from edgepress.compression.graph.rules.registry import activated, bias_of, channel_rule, zero_then

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
            ((*space, None, outputs), *bias_of(layer, outputs)),
            lambda kept: {"filters": kept(outputs), "groups": kept(inputs)},
            constant=zero_then(activation, len(outputs)),
        )
    outputs = call.make(layer.filters)
    if groups > 1:  # as many in each group: the channels at the same place of all groups go together
        for labels in (inputs, outputs):
            call.tie(*labels.reshape(groups, -1))
    return Binding(
        (outputs,),
        ((*space, inputs[: len(inputs) // groups], outputs), *bias_of(layer, outputs)),
        lambda kept: {"filters": kept(outputs)},
        makes={"filters": outputs},
        constant=zero_then(activated(call, outputs), len(outputs)),
        reads=Reads(1 if layer.use_bias else None, pointwise or layer.padding == "valid") if groups == 1 else None,
    )


@channel_rule(_layers.Dense)
def _dense(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(layer.units)
    return Binding(
        (outputs,),
        ((inputs, outputs), *bias_of(layer, outputs)),
        lambda kept: {"units": kept(outputs)},
        makes={"units": outputs},
        constant=zero_then(activated(call, outputs), len(outputs)),
        reads=Reads(1 if layer.use_bias else None, everywhere=True),
        moved=call.moved,
    )


@channel_rule(_layers.EinsumDense)
def _einsum_dense(call: Call) -> Binding | None:
    """The letter of the input's last axis is its channels', that of the output's last axis those that are made."""
    layer, (inputs,), shape = call.layer, call.inputs, call.output_shapes[0]
    equation = re.fullmatch(r"(?:\.\.\.)?(\w+),(\w+)->(?:\.\.\.)?(\w+)", layer.equation.replace(" ", ""))
    if equation is None:
        return None
    given, kernel, result = equation.groups()
    if any(call.moved) or given[-1] not in kernel + result:
        return None
    of_letter = {given[-1]: inputs}
    makes = result[-1] in kernel and result[-1] not in given
    if makes:
        of_letter[result[-1]] = call.make(shape[-1] or 0)  # never open: the kernel has a size
    outputs = of_letter[result[-1]] if result[-1] in of_letter else call.positions(shape[-1])
    weights: list[tuple[Labels | None, ...]] = [tuple(map(of_letter.get, kernel))]
    if layer.bias_axes is not None:
        first = min(map(result.index, layer.bias_axes))
        weights.append(tuple(of_letter.get(x) if x in layer.bias_axes else None for x in result[first:]))
    sizes = layer.get_config()["output_shape"]
    letters = result[-1] if isinstance(sizes, int) else result[-len(sizes) :]

    def settings(kept: Kept) -> dict[str, Any]:
        old = [sizes] if isinstance(sizes, int) else sizes
        new = [kept(of_letter[x]) if x in of_letter and size else size for x, size in zip(letters, old, strict=True)]
        return {"output_shape": new[0] if isinstance(sizes, int) else tuple(new)}

    activation = activated(call, outputs)
    is_zero = result[-1] in kernel and (layer.bias_axes is None or result[-1] in layer.bias_axes)
    as_dense = makes and kernel == given[-1] + result[-1] and given[-1] not in result
    passed_on = result[:-1].find(given[-1])  # where the input's channels are now, if not last
    return Binding(
        (outputs,),
        tuple(weights),
        settings,
        makes={"units": outputs} if makes else {},
        constant=zero_then(activation, len(outputs)) if is_zero else None,
        reads=Reads(None if layer.bias_axes is None else 1, everywhere=True) if as_dense else None,
        moved=None if passed_on < 0 else ({len(shape) - len(result) + passed_on: inputs},),
    )


@channel_rule(_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)
def _transposed_convolution(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(layer.filters)
    space = (None,) * len(layer.kernel_size)
    return Binding(
        (outputs,),
        ((*space, outputs, inputs), *bias_of(layer, outputs)),
        lambda kept: {"filters": kept(outputs)},
        makes={"filters": outputs},
        constant=zero_then(activated(call, outputs), len(outputs)),
    )


@channel_rule(_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
def _depthwise(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = np.repeat(inputs, layer.depth_multiplier)
    space = (None,) * len(layer.kernel_size)
    return Binding(
        (outputs,),
        ((*space, inputs, None), *bias_of(layer, outputs)),
        constant=zero_then(activated(call, outputs), len(outputs)),
    )


@channel_rule(_layers.SeparableConv1D, _layers.SeparableConv2D)
def _separable(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(layer.filters)
    space = (None,) * len(layer.kernel_size)
    between = np.repeat(inputs, layer.depth_multiplier)
    return Binding(
        (outputs,),
        ((*space, inputs, None), (*space, between, outputs), *bias_of(layer, outputs)),
        lambda kept: {"filters": kept(outputs)},
        makes={"filters": outputs},
        constant=zero_then(activated(call, outputs), len(outputs)),
    )


@channel_rule(_layers.Embedding)
def _embedding(call: Call) -> Binding:
    outputs = call.make(call.layer.output_dim)
    return Binding(
        (outputs,),
        ((None, outputs),),
        lambda kept: {"output_dim": kept(outputs)},
        makes={"dimensions": outputs},
        constant=lambda _, __: np.zeros(len(outputs)),
    )
