"""Cross-layer equalization: channels that share a tensor get ranges alike, and the model computes what it did.

A channel may be divided by any positive number where it is made and multiplied by it where it is read, as long as all
between them is positively homogeneous (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction"). There, the ranges of two kernels are balanced; since kernels of convolutions are quantized channel by
channel, here the measured range of the channel takes the place of the kernel that makes it, as SmoothQuant does for
matrix products (Xiao et al. 2023): what is divided by sqrt(a / w) has the range sqrt(a w), in the tensor and in the
kernel that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src import ops as operations
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Binding, Call, Channels, Labels, Rule, channels_of
from edgepress.compression.graph.reader import Node, read
from edgepress.compression.graph.rebuild import copy_of, set_weights
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.graph.tracing import trace
from edgepress.compression.quantization.runs import few_of
from edgepress.compression.steps import Change
from edgepress.data import Split

Ranges = NDArray[np.float64]

_layers = keras.layers
_SMALLEST = 1e-4  # of the largest: what is below counts as this, so that dead channels get no absurd factors
_WORTH_SAYING = 2.0
_DEPTHWISE = (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
_KERNELS = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D, _layers.Dense)
_NONLINEAR = (_layers.ReLU, _layers.LeakyReLU, _layers.PReLU, _layers.Activation, operations.nn.Relu)
_HOMOGENEOUS = (
    *_NONLINEAR,
    *(getattr(_layers, f"{kind}{n}D") for n in (1, 2, 3) for kind in ("MaxPooling", "AveragePooling", "ZeroPadding")),
    *(getattr(_layers, f"{kind}{n}D") for n in (1, 2, 3) for kind in ("GlobalMaxPooling", "GlobalAveragePooling")),
    *(getattr(_layers, f"{kind}{n}D") for n in (1, 2, 3) for kind in ("Cropping", "UpSampling")),
    *(_layers.Dropout, _layers.SpatialDropout1D, _layers.SpatialDropout2D, _layers.Identity, _layers.Flatten),
    *(_layers.Add, _layers.Subtract, _layers.Average, _layers.Maximum, _layers.Minimum, _layers.Concatenate),
    *(operations.numpy.Add, operations.numpy.Concatenate),
)


@dataclass(frozen=True, eq=False)
class Equalized:
    """A model that computes the same with other weights.

    Attributes:
        model: a copy.
        changed: for each layer whose channels were divided by unlike numbers, by how unlike.
    """

    model: Any
    changed: tuple[Change, ...]


def equalize(model: Any, calibration: Split) -> Equalized:
    """Equalize the channels of a copy of a model, whose BatchNorm is folded already.

    Left as they are: channels behind activations that are not homogeneous (ReLU6, swish, sigmoid), inputs, outputs, and
    what meets a BatchNorm, a grouped convolution or a layer that nothing is known of.

    Args:
        calibration: training inputs, from which the ranges of activations are taken.
    """
    equalized = copy_of(model)
    channels = channels_of(read(equalized), _rule_for)
    factors = _factors(channels, calibration)[channels.atom_of]
    changed = []
    for name, binding in channels.layers.items():
        if not binding.makes and binding.reads is None:
            continue
        layer = channels.graph.layers()[name]
        _divide(layer, binding, factors)
        made = factors[binding.outputs[0]]
        if made.max(initial=1) >= _WORTH_SAYING * made.min(initial=1):
            changed.append(Change(name, f"channels divided by {made.min():.3g} to {made.max():.3g}"))
    return Equalized(equalized, tuple(changed))


def _rule_for(operation: Any) -> Rule | None:
    """What passes factors on, what makes channels and what reads them; all else freezes what it meets."""
    kind = type(operation)
    if kind in _DEPTHWISE:
        return _depthwise
    usual = rule_for(operation)
    if kind in _KERNELS and getattr(operation, "groups", 1) == 1 and usual is not None:
        return _making(usual)
    return usual if kind in _HOMOGENEOUS and _is_homogeneous(operation) else None


def _is_homogeneous(operation: Any) -> bool:
    """Whether f(c x) is c f(x) for every c > 0, as far as it depends on the activation."""
    if isinstance(operation, _layers.ReLU):
        return operation.max_value is None and not operation.threshold
    activation = getattr(operation, "activation", None)
    return activation is None or getattr(activation, "__name__", "") in ("linear", "relu", "leaky_relu")


def _making(usual: Rule) -> Rule:
    def rule(call: Call) -> Binding | None:
        binding = usual(call)
        if binding is not None and not _is_homogeneous(call.layer):
            call.freeze(binding.outputs[0], f"{call.node.name} has an activation that is not homogeneous")
        return binding

    return rule


def _depthwise(call: Call) -> Binding:
    """Reads its channels and makes others: its kernel takes up any pair of factors."""
    layer, (inputs,) = call.layer, call.inputs
    outputs = call.make(len(inputs) * layer.depth_multiplier)
    if not _is_homogeneous(layer):
        call.freeze(outputs, f"{call.node.name} has an activation that is not homogeneous")
    space = (None,) * len(layer.kernel_size)
    bias = ((outputs,),) if layer.use_bias else ()
    return Binding((outputs,), ((*space, inputs, None), *bias), makes={"channels": outputs})


def _factors(channels: Channels, calibration: Split) -> Ranges:
    """What each atom is divided by where it is made; 1 where nothing may be changed."""
    count = len(channels.atom_of)
    activations, kernels = _activation_ranges(channels, calibration), _kernel_ranges(channels)
    free = np.zeros(count, bool)
    for group in channels.groups:
        free[group.atoms] = group.frozen is None
    factors = np.ones(count)
    for family in _families(channels):
        chosen = family[free[family]]
        largest = activations[family].max()
        if len(chosen) == 0 or largest == 0:
            continue
        range_ = np.maximum(activations[chosen], _SMALLEST * largest)
        read_by = np.where(kernels[chosen] > 0, np.maximum(kernels[chosen], _SMALLEST), 1.0)
        found = np.sqrt(range_ / read_by)
        if not kernels[chosen].any():  # only depthwise kernels, for which any factor is the same
            found = range_
        fixed = family[~free[family]]
        wanted = activations[fixed].max() if len(fixed) and activations[fixed].any() else largest
        factors[chosen] = found * (range_ / found).max() / wanted
    return factors


def _activation_ranges(channels: Channels, calibration: Split) -> Ranges:
    """Of each atom, the largest magnitude in a tensor that will be quantized."""
    found = np.zeros(len(channels.atom_of))

    def look(node: Node, inputs: tuple[NDArray[Any], ...]) -> None:
        if isinstance(node.operation, _NONLINEAR):  # becomes one with what comes before it
            return
        for ref, array in zip(node.inputs, inputs, strict=True):
            atoms = channels.atom_of[channels.bindings[ref.node].outputs[ref.output]]
            if len(atoms) and array.ndim > 1 and array.shape[-1] == len(atoms):
                np.maximum.at(found, atoms, np.abs(array).max(axis=tuple(range(array.ndim - 1))))

    trace(channels.graph, few_of(calibration).inputs, look)
    return found


def _kernel_ranges(channels: Channels) -> Ranges:
    """Of each atom, its largest weight in kernels that read it, as a share of the largest of the same output."""
    found = np.zeros(len(channels.atom_of))
    for name, binding in channels.layers.items():
        if binding.reads is None:
            continue
        kernel = np.abs(channels.graph.layers()[name].get_weights()[0])
        kernel = kernel.reshape(-1, *kernel.shape[-2:]).max(axis=0)
        share = kernel / np.maximum(kernel.max(axis=0), np.finfo(np.float32).tiny)
        np.maximum.at(found, channels.atom_of[_inputs_of(binding)], share.max(axis=1))
    return found


def _families(channels: Channels) -> list[NDArray[np.int64]]:
    """Atoms that share tensors, directly or over others: only their ranges relative to each other count."""
    family = np.arange(len(channels.atom_of))
    for node in channels.graph.nodes:
        for labels in channels.bindings[node.index].outputs:
            its = np.unique(family[channels.atom_of[labels]])
            if len(its) > 1:
                family[np.isin(family, its)] = its[0]
    atoms = np.unique(channels.atom_of)
    return [atoms[family[atoms] == number] for number in np.unique(family[atoms])]


def _divide(layer: Any, binding: Binding, factors: Ranges) -> None:
    """Multiply a kernel by what its inputs are divided by, and divide it and the bias by its outputs' factors."""
    kernel, *rest = layer.get_weights()
    inputs, outputs = factors[_inputs_of(binding)], factors[binding.outputs[0]]
    if isinstance(layer, _DEPTHWISE):
        kernel = kernel * inputs[:, None] / outputs.reshape(len(inputs), -1)
    else:
        kernel = kernel * inputs[:, None] / outputs
    set_weights(layer, [kernel, *(bias / outputs for bias in rest)])


def _inputs_of(binding: Binding) -> Labels:
    """The labels of a kernel's last axis but one."""
    labels = binding.weights[0][-2]
    assert labels is not None
    return labels
