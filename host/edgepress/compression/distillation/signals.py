"""What a student can learn of a teacher, as losses between two tensors of a batch.

All are of the order of 1 where a student knows nothing, so that they can be summed with weights near 1.
"""

from __future__ import annotations

import math
from typing import Any

import keras

from edgepress.training.guidance import Loss
from edgepress.training.objective import OutputKind

_SMALLEST_PROBABILITY = 1e-30  # keeps logarithms finite in float32
_SURE = 1e-6  # a sigmoid's probability is kept so far from 0 and 1
_TINY = 1e-12


def logits_of(output: Any, kind: OutputKind) -> Any:
    """Return what a softmax or sigmoid was given, up to a constant that softmax does not see; other outputs as are."""
    ops = keras.ops
    if kind == "probabilities":
        return ops.log(ops.maximum(output, _SMALLEST_PROBABILITY))
    if kind == "sigmoid":
        probability = ops.clip(output, _SURE, 1 - _SURE)
        return ops.log(probability) - ops.log(1 - probability)
    return output


def mean_answer(logits: list[Any], kind: OutputKind, temperature: float) -> Any:
    """Return the logits whose softened probabilities are the mean of several teachers'; of values, their mean.

    A divergence from the mean has the same gradients as the mean of the divergences.
    """
    ops = keras.ops
    if len(logits) == 1:
        return logits[0]
    if kind in ("probabilities", "logits"):
        softened = [ops.softmax(each / temperature, axis=-1) for each in logits]
        return temperature * logits_of(sum(softened) / len(softened), "probabilities")
    if kind in ("sigmoid", "binary logits"):
        softened = [ops.sigmoid(each / temperature) for each in logits]
        return temperature * logits_of(sum(softened) / len(softened), "sigmoid")
    return sum(logits) / len(logits)


def response(kind: OutputKind, temperature: float) -> Loss:
    """The whole answer, not only the label (Hinton et al. 2015).

    For classes: Kullback-Leibler divergence at a temperature T, times T^2 so that its gradients keep their size. It
    acts on logits: ``wanted`` are the teacher's, the student gives what its model gives. For values: squared
    difference.
    """
    ops = keras.ops

    def between_classes(wanted: Any, given: Any) -> Any:
        teacher = ops.log_softmax(wanted / temperature, axis=-1)
        student = ops.log_softmax(logits_of(given, kind) / temperature, axis=-1)
        return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def between_binaries(wanted: Any, given: Any) -> Any:
        teacher = ops.sigmoid(wanted / temperature)
        student = logits_of(given, kind) / temperature
        return temperature**2 * keras.losses.binary_crossentropy(teacher, student, from_logits=True)

    def between_values(wanted: Any, given: Any) -> Any:
        return ops.square(wanted - given)

    if kind in ("probabilities", "logits"):
        return between_classes
    if kind in ("sigmoid", "binary logits"):
        return between_binaries
    return between_values


def hint(wanted: Any, given: Any) -> Any:
    """The features themselves (FitNets: Romero et al. 2015): squared difference as a share of their variance."""
    ops = keras.ops
    return ops.mean(ops.square(wanted - given)) / (ops.var(wanted) + _TINY)


def attention_map(features: Any) -> Any:
    """Return where a layer looks: mean square over channels, ``(n, places)``, of length 1 for each sample."""
    ops = keras.ops
    energy = ops.mean(ops.square(features), axis=-1)
    return _of_length_1(ops.reshape(energy, (-1, math.prod(energy.shape[1:]))))


def attention(wanted: Any, given: Any) -> Any:
    """Where it looks (attention transfer: Zagoruyko and Komodakis 2017); ``wanted`` is an :func:`attention_map`."""
    return keras.ops.sum(keras.ops.square(wanted - attention_map(given)), axis=-1)


def distance(wanted: Any, given: Any) -> Any:
    """How far samples are from each other, in mean distances (RKD-D: Park et al. 2019), under Huber's loss."""
    return _huber(_distances(wanted) - _distances(given))


def angle(wanted: Any, given: Any) -> Any:
    """Angles between any three samples (RKD-A: Park et al. 2019), under Huber's loss."""
    return _huber(_cosines(wanted) - _cosines(given))


def similarity(wanted: Any, given: Any) -> Any:
    """Which samples are alike (similarity-preserving: Tung and Mori 2019): one value for each sample's row."""
    ops = keras.ops
    rows = [_of_length_1(ops.matmul(x, ops.transpose(x))) for x in (flattened(wanted), flattened(given))]
    return ops.sum(ops.square(rows[0] - rows[1]), axis=-1)


RELATIONS: dict[str, Loss] = {"distance": distance, "angle": angle, "similarity": similarity}
"""Signals between samples: what they look at needs no common shape."""


def flattened(features: Any) -> Any:
    """Return features as ``(n, size)``."""
    return keras.ops.reshape(features, (-1, math.prod(features.shape[1:])))


def _of_length_1(rows: Any) -> Any:
    ops = keras.ops
    return rows / ops.sqrt(ops.sum(ops.square(rows), axis=-1, keepdims=True) + _TINY)


def _distances(features: Any) -> Any:
    """Distances of all pairs, ``(n, n)``, as multiples of their mean."""
    ops = keras.ops
    x = flattened(features)
    squares = ops.sum(ops.square(x), axis=-1)
    squared = squares[:, None] + squares[None, :] - 2 * ops.matmul(x, ops.transpose(x))
    found = ops.sqrt(ops.maximum(squared, _TINY))
    others = ops.cast(ops.shape(x)[0], found.dtype)
    return found / (ops.sum(found) / ops.maximum(others * (others - 1), 1.0) + _TINY)


def _cosines(features: Any) -> Any:
    """Cosine of the angle at each sample between any two others, ``(n, n, n)``."""
    ops = keras.ops
    x = flattened(features)
    towards = _of_length_1(x[None, :, :] - x[:, None, :])
    return ops.matmul(towards, ops.transpose(towards, (0, 2, 1)))


def _huber(difference: Any) -> Any:
    ops = keras.ops
    size = ops.abs(difference)
    return ops.where(size <= 1, 0.5 * ops.square(size), size - 0.5)
