"""The registry of rules, and what many of them need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edgepress.compression.graph.channels import Call, Constants, Labels, Moved, Rule, not_constant

_RULES: dict[type, Rule] = {}

# Activations that work on each number alone.
_ELEMENTWISE = frozenset(
    (
        *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "swish", "hard_silu"),
        *("hard_swish", "mish", "tanh", "hard_tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "softsign"),
        *("sigmoid", "hard_sigmoid", "log_sigmoid", "softplus", "exponential", "threshold", "squareplus"),
        *("ReLU", "LeakyReLU", "ELU"),  # as layers
    )
)


def channel_rule(*kinds: type) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of layers or operations of these classes (not of subclasses)."""

    def register(rule: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = rule
        return rule

    return register


def rule_for(operation: Any) -> Rule | None:
    """Return the rule of a layer or operation; None where there is none, or where channels are not the last axis."""
    if getattr(operation, "data_format", "channels_last") == "channels_first":
        return None
    return _RULES.get(type(operation))


def activated(call: Call, labels: Labels) -> Callable[[Constants], Constants]:
    """Freeze the labels if the layer's activation mixes channels; return what it makes of constants."""
    activation = getattr(call.layer, "activation", None)
    name = getattr(activation, "__name__", type(activation).__name__)
    if activation is not None and name not in _ELEMENTWISE:
        call.freeze(labels, f"{call.node.name} has the activation {name}, which may mix channels")
        return lambda constants: not_constant(len(constants))
    if activation is None:
        return lambda constants: constants
    return lambda constants: applied(activation, constants)


def applied(function: Callable[[Any], Any], constants: Constants) -> Constants:
    return np.asarray(function(keras.ops.convert_to_tensor(constants, "float64")), np.float64)


def zero_then(activation: Callable[[Constants], Constants], count: int) -> Callable[..., Constants]:
    """The constant of a channel whose weights are zero."""
    return lambda _, __: activation(np.zeros(count))


def bias_of(layer: Any, outputs: Labels) -> tuple[tuple[Labels], ...]:
    """The labels of a layer's bias, if it has one."""
    return ((outputs,),) if layer.use_bias else ()


def on_channels(axis: Any, call: Call) -> bool:
    """Whether an axis, or a list of one, is the last of the first input."""
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    rank = len(call.input_shapes[0])
    return len(axes) == 1 and axes[0] % rank == rank - 1


def moved_together(call: Call) -> Moved:
    """Tie the inputs' channels on axes before the last; they are frozen where not all inputs have them."""
    together = {}
    for axis in sorted(set().union(*call.moved)):
        found = [moved[axis] for moved in call.moved if axis in moved]
        if len(found) == len(call.inputs) and {len(shape) for shape in call.input_shapes} == {
            len(call.output_shapes[0])
        }:
            call.tie(*found)
            together[axis] = max(found, key=len)
        for labels in found if axis not in together else ():
            call.freeze(labels, f"{call.node.name} joins them with positions")
    return together
