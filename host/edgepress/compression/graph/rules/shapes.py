"""Layers and operations that give the same numbers another shape or another order of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.src import ops as operations

from edgepress.compression.graph.channels import Binding, Call, Kept, Labels
from edgepress.compression.graph.rules.registry import channel_rule

_layers = keras.layers


@channel_rule(_layers.Flatten)
def _flatten(call: Call) -> Binding | None:
    """The channel is the fastest index: position * channels + channel (channels_last)."""
    return _reshaped(call)


@channel_rule(_layers.Reshape)
def _reshape(call: Call) -> Binding | None:
    return _reshaped(call, "target_shape", (None, *call.layer.target_shape))


@channel_rule(operations.numpy.Reshape)
def _reshape_operation(call: Call) -> Binding | None:
    target = call.layer.newshape
    return _reshaped(call, "newshape", tuple(target)) if isinstance(target, tuple | list) else None


def _reshaped(call: Call, setting: str | None = None, target: Sequence[Any] = ()) -> Binding | None:
    """Row-major order: what lies beside each other stays beside each other.

    Args:
        setting: what the layer calls its shape, if it has one; its batch, if not the layer's to say, is None in target.
    """
    last = len(call.output_shapes[0]) - 1
    on_another_axis = [axis for axis, labels in call.moved[0].items() if not call.are_positions(labels)]
    by_grid = bool(on_another_axis) and call.are_positions(call.inputs[0])
    found = _by_grid(call, *on_another_axis) if by_grid else _by_remainder(call)
    if found is None:
        return None
    axis, labels, times = found

    def settings(kept: Kept) -> dict[str, Any]:
        size = -1 if target[axis] == -1 else kept(labels)
        shape = (*target[:axis], size, *target[axis + 1 :])
        return {str(setting): shape[1:] if setting == "target_shape" else shape}

    return Binding(
        (labels if axis == last else call.positions(call.output_shapes[0][-1]),),
        settings=settings if setting is not None else None,
        constant=(lambda constants, _: np.tile(constants[0], times)) if times else None,
        moved=({axis: labels} if axis != last else {},) if axis != last or by_grid else None,
    )


def _by_remainder(call: Call) -> tuple[int, Labels, int] | None:
    """Axis, labels, and how often the channels are repeated (0: they are split), where the last axis has them.

    The channel is an element's number modulo the size of the last axis, before and after.
    """
    (inputs,), shape = call.inputs, call.output_shapes[0]
    before, after = len(inputs), shape[-1]
    if not before or not after:
        return None
    if after == 1 < before:  # an axis more behind the channels, else it would join all of them
        return (len(shape) - 2, inputs, 0) if shape[-2] == before and not call.moved[0] else None
    if after % before == 0:
        times = after // before
        return len(shape) - 1, np.tile(inputs, times), times
    if before % after == 0:  # a vector that becomes a picture: a channel is taken from all of its positions
        rows = inputs.reshape(-1, after)
        call.tie(*rows)
        return len(shape) - 1, rows[0], 0
    return None


def _by_grid(call: Call, axis: int, *others: int) -> tuple[int, Labels, int] | None:
    """The same where an axis before the last has them, as in a shuffle of channels: from the label of every number."""
    before, after = (tuple(size or 0 for size in shape[1:]) for shape in (call.input_shapes[0], call.output_shapes[0]))
    if 0 in before + after or math.prod(before) != math.prod(after):  # sizes that are open, or a batch that changes
        return None
    for other in others:
        call.freeze(call.moved[0][other], f"{call.node.name} joins them with channels of another axis")
    sizes = [size if place == axis else 1 for place, size in enumerate(before, start=1)]
    grid = np.broadcast_to(call.moved[0][axis].reshape(sizes), before).reshape(after)
    for place in reversed(range(len(after))):
        lines = np.moveaxis(grid, place, -1).reshape(-1, after[place])
        if (lines == lines[0]).all():
            return place + 1, lines[0], 0
    lines = grid.reshape(-1, after[-1])
    call.tie(*lines)
    return len(after), lines[0], 0


_ORDERS: dict[type, Callable[[Any, Any], Any]] = {
    _layers.Permute: lambda layer, x: np.transpose(x, (0, *layer.dims)),
    operations.numpy.Transpose: lambda operation, x: np.transpose(x, operation.axes),
    operations.numpy.Moveaxis: lambda operation, x: np.moveaxis(x, operation.source, operation.destination),
    operations.numpy.Swapaxes: lambda operation, x: np.swapaxes(x, operation.axis1, operation.axis2),
}


@channel_rule(*_ORDERS)
def _reordered(call: Call) -> Binding | None:
    rank = len(call.input_shapes[0])
    order = _ORDERS[type(call.layer)](call.layer, np.empty(range(rank))).shape  # axis i has the size i
    if order[0] != 0:
        return None
    return _placed(call, {order.index(axis): labels for axis, labels in _axes(call).items()})


@channel_rule(operations.numpy.ExpandDims)
def _expanded(call: Call) -> Binding:
    rank, axis = len(call.output_shapes[0]), call.layer.axis
    new = {place % rank for place in (axis if isinstance(axis, list | tuple) else (axis,))}
    old = [place for place in range(rank) if place not in new]
    return _placed(call, {old[axis]: labels for axis, labels in _axes(call).items()})


@channel_rule(operations.numpy.Squeeze)
def _squeezed(call: Call) -> Binding:
    shape, axis = call.input_shapes[0], call.layer.axis
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    gone = [place for place, size in enumerate(shape) if size == 1] if axis is None else [a % len(shape) for a in axes]
    stays = [place for place in range(len(shape)) if place not in gone]
    for place, labels in _axes(call).items():
        if place in gone:
            call.freeze(labels, f"{call.node.name} takes its only channel out")
    return _placed(call, {stays.index(axis): labels for axis, labels in _axes(call).items() if axis in stays})


def _axes(call: Call) -> dict[int, Labels]:
    """The labels of all axes that have some; the batch has none."""
    last = len(call.input_shapes[0]) - 1
    return {**call.moved[0], last: call.inputs[0]} if last else {}


def _placed(call: Call, axes: dict[int, Labels]) -> Binding:
    """A binding from the labels of all axes."""
    shape = call.output_shapes[0]
    labels = axes.pop(len(shape) - 1, None)
    moved = {axis: found for axis, found in axes.items() if not call.are_positions(found)}
    return Binding(
        (call.positions(shape[-1]) if labels is None else labels,),
        constant=(lambda constants, _: constants[0]) if labels is call.inputs[0] else None,
        moved=(moved,),
    )
