"""Layers that normalise: each channel by itself, in groups, or over all channels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from edgepress.compression.graph.channels import Binding, Call, Constants, Weights
from edgepress.compression.graph.rules.registry import channel_rule, on_channels

_layers = keras.layers


@channel_rule(_layers.BatchNormalization)
def _batch_norm(call: Call) -> Binding | None:
    layer, (inputs, *_) = call.layer, call.inputs
    if getattr(layer, "renorm", False):  # Keras 3.15: three more statistics
        return None
    if not on_channels(layer.axis, call):
        return _not_on_channels(call)
    count = len(layer.get_weights())

    def constant(constants: Sequence[Constants], weights: Weights) -> Constants:
        beta = np.asarray(weights[-3], np.float64) if layer.center else np.zeros(len(inputs))
        return beta if layer.scale else np.where(constants[0] == 0, beta, np.nan)

    mean = count - 2
    zeroed = 0 if layer.scale else mean  # gamma, or the mean of what is 0 itself: beta is left
    keeps = tuple(index for index in range(count) if index != zeroed)
    return Binding((inputs,), ((inputs,),) * count, constant=constant, keeps=keeps, moved=call.moved[:1])


@channel_rule(_layers.LayerNormalization, _layers.RMSNormalization, _layers.UnitNormalization)
def _over_channels(call: Call) -> Binding:
    layer, (inputs,) = call.layer, call.inputs
    if not on_channels(layer.axis, call):
        return _not_on_channels(call)
    return Binding((inputs,), ((inputs,),) * len(layer.get_weights()), over_channels=True, moved=call.moved)


@channel_rule(_layers.GroupNormalization)
def _group_norm(call: Call) -> Binding:
    """One group: over what is left of the channels. Several: whole groups go, so that the others stay what they are."""
    layer, (inputs,) = call.layer, call.inputs
    if not on_channels(layer.axis, call):
        return _not_on_channels(call)
    weights = ((inputs,),) * len(layer.get_weights())
    if layer.groups == 1:
        return Binding((inputs,), weights, over_channels=True)
    members = inputs.reshape(layer.groups, -1)
    call.tie(*members.T)
    return Binding(
        (inputs,),
        weights,
        lambda kept: {"groups": kept(members[:, 0])},
        constant=(lambda _, __: np.zeros(len(inputs))) if layer.scale else None,
    )


@channel_rule(_layers.Normalization)
def _normalization(call: Call) -> Binding | None:
    layer, (inputs,) = call.layer, call.inputs
    per_channel = on_channels(layer.axis, call)
    if not per_channel and layer.axis:
        return None
    given = {"mean": layer.input_mean, "variance": layer.input_variance}
    settings = {name: value for name, value in given.items() if np.shape(value) == (len(inputs),)}
    learnt = (inputs,) if per_channel else ()
    return Binding(
        (inputs,),
        (learnt, learnt, ()) if layer.input_mean is None else (),
        lambda kept: {name: kept.of(inputs, value).tolist() for name, value in settings.items()},
        keeps=(0, 1, 2),
    )


def _not_on_channels(call: Call) -> Binding:
    """A normalization of another axis: its weights are not the channels'."""
    (inputs, *_) = call.inputs
    call.freeze(inputs, f"{call.node.name} normalises axis {call.layer.axis}, not the channels")
    return Binding((inputs,))
