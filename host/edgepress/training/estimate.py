"""How long a training will take, measured on its first batches before it starts."""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median
from typing import Any

import keras

_BATCHES = 6  # the first one is traced, which says nothing of those that follow
_WORTH_ESTIMATING = 500  # batches: small models are through with fewer before anybody has read how long they will take


def worth_estimating(batches: int) -> bool:
    """Return whether a training is long enough to be told how long."""
    return batches >= _WORTH_ESTIMATING


def seconds_per_batch(model: Any, batches: Any) -> float:
    """Train a compiled model on a few batches, with a clock, and put everything back as it was.

    Args:
        batches: a ``tf.data`` set, of which the model's training goes on to use another one of the same shapes: then
            tracing, the dear part, is not done twice.
    """
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    ends: list[float] = []

    def tick(batch: int, logs: Any = None) -> None:
        del batch, logs
        ends.append(time.monotonic())

    clock = keras.callbacks.LambdaCallback(on_train_batch_end=tick)
    model.fit(batches.repeat().take(_BATCHES), epochs=1, shuffle=False, verbose=0, callbacks=[clock])
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return median(end - start for start, end in pairwise(ends))


def duration_in_words(seconds: float) -> str:
    """Return a duration to as many digits as an estimate has."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
