"""Layers and operations that put tensors together or take them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.src import ops as operations

from edgepress.compression.graph.channels import Binding, Call, Constants, Kept, Weights, not_constant
from edgepress.compression.graph.reader import TensorRef
from edgepress.compression.graph.rules.registry import channel_rule, moved_together, on_channels

_layers = keras.layers


@channel_rule(_layers.Concatenate, operations.numpy.Concatenate)
def _concatenate(call: Call) -> Binding:
    if on_channels(call.layer.axis, call):
        return Binding(
            (np.concatenate(call.inputs),),
            constant=lambda constants, _: np.concatenate(list(constants)),
            moved=(moved_together(call),),
        )
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
    operations.numpy.Power: lambda values: values[0] ** values[1],
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

    return Binding((whole[0],), constant=constant, moved=(moved_together(call),))


def _operands(call: Call) -> list[float | None] | None:
    """For each operand None if it is a tensor, else its number; None where there is an operand of another kind."""
    found: list[float | None] = []
    for value in keras.tree.flatten(call.node.args):
        if isinstance(value, TensorRef):
            found.append(None)
        elif np.ndim(value) == 0 and isinstance(value, int | float | np.number):
            found.append(float(value))
        else:
            return None
    return found if found.count(None) == len(call.inputs) else None


@channel_rule(operations.numpy.Split)
def _split(call: Call) -> Binding:
    (inputs,) = call.inputs
    if not on_channels(call.layer.axis, call):
        return Binding((inputs,) * len(call.output_shapes), constant=lambda constants, _: constants[0])
    ends = np.cumsum([shape[-1] for shape in call.output_shapes])[:-1]
    parts = np.split(inputs, ends)
    for part in parts:
        call.part(part)
    return Binding(
        tuple(parts),
        settings=lambda kept: {"indices_or_sections": tuple(kept(inputs[:end]) for end in ends.tolist())},
    )


@channel_rule(operations.numpy.GetItem)
def _slice(call: Call) -> Binding | None:
    """Slices of positions and of channels, single positions, and new axes."""
    (inputs,) = call.inputs
    entries = _by_axis(call.argument("key"), len(call.input_shapes[0]))
    if entries is None or not isinstance(entries[0], slice) or len(call.input_shapes[0]) == 1:
        return None
    place = max(number for number, entry in enumerate(entries) if entry is not None)  # of the channels
    taken = entries[place]
    if isinstance(taken, int):
        call.freeze(inputs, f"{call.node.name} takes one of its channels")
        return Binding((call.positions(call.output_shapes[0][-1]),))
    start, stop, step = taken.indices(len(inputs))
    if step != 1:
        call.freeze(inputs, f"{call.node.name} takes channels in steps of {step}")
        return Binding((inputs[taken],))
    part = inputs[start:stop]
    is_whole = len(part) == len(inputs)
    if not is_whole:
        call.part(part)

    def arguments(kept: Kept) -> dict[str, Any]:
        begin = kept(inputs[:start])
        return {"key": (*entries[:place], slice(begin, begin + kept(part)), *entries[place + 1 :])}

    changed = None if is_whole else arguments
    if place < len(entries) - 1:  # new axes behind the channels
        axis = sum(not isinstance(entry, int) for entry in entries[:place])
        return Binding((call.positions(1),), arguments=changed, moved=({axis: part},))
    return Binding((part,), arguments=changed, constant=lambda constants, _: constants[0][start:stop])


def _by_axis(key: Any, rank: int) -> list[Any] | None:
    """A key with an entry for each axis, and None for each new one; None if it is more than slices and numbers."""
    entries = list(key) if isinstance(key, tuple | list) else [key]
    if not all(entry is None or entry is Ellipsis or isinstance(entry, int | slice) for entry in entries):
        return None
    missing = rank - sum(isinstance(entry, int | slice) for entry in entries)
    place = entries.index(Ellipsis) if Ellipsis in entries else len(entries)
    return [*entries[:place], *(slice(None),) * missing, *entries[place + 1 :]]
