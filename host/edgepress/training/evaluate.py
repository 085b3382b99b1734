"""Outputs of a Keras model over a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.data import Split
from edgepress.training.objective import Objective

_BATCH_BYTES = 16 << 20
_LARGEST_BATCH = 256


def flat(model: Any) -> Any:
    """Return a view of the model, sharing its layers, that takes and gives tensors in model order.

    A model may want a dict or nested lists; data here are always tuples in model order.
    """
    return keras.Model(list(model.inputs), list(model.outputs))


def batches(split: Split) -> Iterator[Split]:
    """Yield a split in batches of at most 256 samples and 16 MiB of input."""
    size = _batch_size(split, least=1)
    for start in range(0, len(split), size):
        yield split.take(slice(start, start + size))


def mixed_batches(split: Split, seed: int) -> Iterator[Split]:
    """Yield a split in an order drawn by ``seed``, in batches that each stand for the whole.

    Files are often sorted by class. A batch is of 32 samples at least (what training uses if nobody says otherwise),
    and of no more than 256 or 16 MiB of input beyond that.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    size = _batch_size(split, least=32)
    for start in range(0, len(split), size):
        yield split.take(order[start : start + size])


def _batch_size(split: Split, least: int) -> int:
    return max(least, min(_LARGEST_BATCH, _BATCH_BYTES // split.sample_bytes))


def predict(model: Any, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], ...]:
    """Return the outputs for ``inputs`` (one ``(n, ...)`` array per model input), float32, in model order.

    Calls the model directly: ``model.predict`` would trace a graph first, which takes longer than the small models
    here take to run.
    """
    view = flat(model)
    parts: list[list[NDArray[np.float32]]] = [[] for _ in model.outputs]
    for batch in batches(Split(tuple(inputs), ())):
        outputs = view([keras.ops.convert_to_tensor(x) for x in batch.inputs], training=False)
        for part, output in zip(parts, keras.tree.flatten(outputs), strict=True):
            part.append(np.asarray(output, np.float32))
    return tuple(np.concatenate(part) for part in parts)


def alone(arrays: Sequence[Any]) -> Any:
    """Return a single array as itself: Keras takes a tuple of one for several inputs."""
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def judging(objective: Objective) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    """Return the objective's loss as a function of targets and outputs, one array or tensor per model output each.

    It knows of no model, so that penalties on weights are no part of it. A scalar tensor, with gradients.
    """
    judge = keras.Model()
    judge.compile(loss=list(objective.loss), loss_weights=list(objective.loss_weights) or None)
    return lambda targets, outputs: judge.compute_loss(y=alone(targets), y_pred=alone(outputs), training=False)


def loss_of(model: Any, split: Split, objective: Objective) -> float:
    """Return the objective's loss of a model over a split, infinite where it is no number."""
    loss = float(judging(objective)(split.targets, predict(model, split.inputs)))
    return loss if math.isfinite(loss) else math.inf
