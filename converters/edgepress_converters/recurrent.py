"""Recurrent layers as a row of steps: in integers TensorFlow's converter takes them in no other form.

A loop over the steps of an LSTM or GRU kills the converter of TensorFlow 2.21 in ``int8`` and ``int16x8`` (SIGSEGV).
Written out step by step the same layers convert, at the price of a graph that grows with the steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgepress_converters.errors import UnsupportedModelError

if TYPE_CHECKING:
    import keras

LEFT_FLOAT = "SPLIT"
"""Of a step written out, which TensorFlow 2.21's converter leaves in float in some conversions of a model and not in
others (26 of 40 of one model with four such layers). It only cuts the values of the gates apart."""

MOST_STEPS = 256
"""That are written out in one model, over all its recurrent layers: see docs/conversion.md for what they cost."""


@contextmanager
def steps_written_out(model: keras.Model) -> Iterator[None]:
    """Within the block every recurrent layer of the model is traced step by step.

    Raises:
        UnsupportedModelError: that would be more than ``MOST_STEPS`` steps, or their number is open.
    """
    loops = [(layer, count) for layer, count in _recurrent(model) if not layer.unroll]
    _check_steps(loops)
    try:
        for layer, _ in loops:
            layer.unroll = True
        yield
    finally:
        for layer, _ in loops:
            layer.unroll = False


def has_loops(model: keras.Model) -> bool:
    """Whether the model has recurrent layers that are exported as loops unless their steps are written out."""
    return any(not layer.unroll for layer, _ in _recurrent(model))


def _check_steps(loops: list[tuple[Any, int | None]]) -> None:
    steps: Counter[str] = Counter()
    for layer, count in loops:
        if count is None:
            raise UnsupportedModelError(
                f"the steps of the recurrent layer {layer.name!r} are not fixed, and in integers each is written out: "
                "give the model's input a fixed length, or use format dynamic, float16 or float32"
            )
        steps[layer.name] += count
    if steps.total() > MOST_STEPS:
        each = ", ".join(f"{name} {count}" for name, count in steps.items())
        raise UnsupportedModelError(
            f"in integers each step of a recurrent layer is written out, up to {MOST_STEPS} steps in a model; this one "
            f"has {steps.total()} ({each}). Shorten its input, or use format dynamic, float16 or float32, "
            "which keep the loop"
        )


def _recurrent(model: keras.Model) -> Iterator[tuple[Any, int | None]]:
    """Yield each recurrent layer with its number of steps, once for each time that it is called."""
    import keras

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Bidirectional):
            parts = [layer.forward_layer, layer.backward_layer]
        else:  # those within a Bidirectional have no calls of their own
            parts = [layer] if isinstance(layer, keras.layers.RNN) and hasattr(layer, "unroll") else []
        calls = layer._inbound_nodes if parts else []
        yield from ((part, call.input_tensors[0].shape[1]) for call in calls for part in parts)
