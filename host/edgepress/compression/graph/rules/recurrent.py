"""Recurrent layers. A unit whose weights are zero stays at 0: tanh(0) is what its state is mixed with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.channels import Binding, Call, Kept, Labels
from edgepress.compression.graph.rules.registry import channel_rule

_layers = keras.layers
_KINDS = (_layers.LSTM, _layers.GRU, _layers.SimpleRNN)


@channel_rule(*_KINDS)
def _recurrent(call: Call) -> Binding | None:
    layer = call.layer
    if not _is_known(layer) or call.argument("initial_state") is not None:
        return None
    units = call.make(layer.units)
    return Binding(
        (units,) * len(call.output_shapes),
        _weights(layer, call.argument("sequences"), units),
        lambda kept: {"units": kept(units)},
        makes={"units": units},
        constant=lambda _, __: np.zeros(len(units)),
    )


@channel_rule(_layers.Bidirectional)
def _bidirectional(call: Call) -> Binding | None:
    """The units at the same place of both directions go together, so that both stay of one size."""
    both = (call.layer.forward_layer, call.layer.backward_layer)
    if not all(type(layer) in _KINDS and _is_known(layer) for layer in both) or both[0].units != both[1].units:
        return None
    if call.argument("initial_state") is not None:
        return None
    units = call.make(both[0].units)
    joined = np.tile(units, 2) if call.layer.merge_mode == "concat" else units
    states = len(call.output_shapes) - (2 if call.layer.merge_mode is None else 1)
    outputs = (joined,) * (len(call.output_shapes) - states) + (units,) * states

    def settings(kept: Kept) -> dict[str, Any]:
        config = call.layer.get_config()
        changed = {key: dict(config[key]) for key in ("layer", "backward_layer")}
        for direction in changed.values():
            direction.pop("build_config", None)  # of the shape that it had
            direction["config"] = {**direction["config"], "units": kept(units)}
        return changed

    return Binding(
        outputs,
        tuple(axes for layer in both for axes in _weights(layer, call.argument("sequences"), units)),
        settings,
        makes={"units": units},
        constant=(lambda _, __: np.zeros(len(joined))) if not states else None,
    )


def _is_known(layer: Any) -> bool:
    return not layer.stateful and layer.activation is keras.activations.tanh


def _weights(layer: Any, inputs: Labels, units: Labels) -> tuple[tuple[Labels | None, ...], ...]:
    """Kernel, recurrent kernel and bias, in which every gate has all units."""
    kernel, _, *bias = layer.get_weights()
    gates = np.tile(units, kernel.shape[1] // layer.units)
    return ((inputs, gates), (units, gates), *((*(None,) * (values.ndim - 1), gates) for values in bias))
