"""Precision, recall and F1 of each class, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgepress.training.objective import OutputKind

Array = NDArray[Any]


@dataclass(frozen=True)
class ClassScores:
    """How well one class is told from the others. Fractions 0..1; 0 where there is nothing to divide by.

    Attributes:
        output: number of the model's output.
        label: its name, or its number.
        samples: how many there are of it.
        precision: of those taken for it, the share that are it.
        recall: of those that are it, the share that were taken for it.
        f1: harmonic mean of both.
    """

    output: int
    label: str
    samples: int
    precision: float
    recall: float
    f1: float


def scores_by_class(
    outputs: Sequence[Array], targets: Sequence[Array], kinds: Sequence[OutputKind], labels: Sequence[str] = ()
) -> tuple[ClassScores, ...]:
    """Return the scores of every class of every output that tells classes.

    Args:
        outputs, targets: one array for each output, ``(n, ...)``; integer or one-hot targets.
        kinds: what each output holds. Of a single sigmoid the classes are 0 and 1; of several each is a class of its
            own.
        labels: names of the first output's classes.
    """
    found: list[ClassScores] = []
    for number, (output, target, kind) in enumerate(zip(outputs, targets, kinds, strict=True)):
        if kind == "values":
            continue
        taken, true = _memberships(np.asarray(output), np.asarray(target), kind)
        classes = taken.shape[-1]
        names = labels if number == 0 and len(labels) == classes else [str(index) for index in range(classes)]
        found += [_scores(number, str(name), taken[:, i], true[:, i]) for i, name in enumerate(names)]
    return tuple(found)


def _memberships(output: Array, target: Array, kind: OutputKind) -> tuple[Array, Array]:
    """Two arrays ``(samples, classes)`` of bool: what each was taken for, and what it is."""
    classes = output.shape[-1]
    if kind in ("probabilities", "logits"):
        one_hot = target.shape == output.shape
        true = np.argmax(target, axis=-1) if one_hot else np.asarray(target, np.int64).reshape(output.shape[:-1])
        each = np.arange(classes)
        return np.argmax(output, axis=-1).reshape(-1, 1) == each, true.reshape(-1, 1) == each
    taken = output.reshape(-1, classes) > (0.5 if kind == "sigmoid" else 0.0)
    true = target.reshape(-1, classes) > 0.5
    if classes > 1:
        return taken, true
    return np.concatenate([~taken, taken], axis=1), np.concatenate([~true, true], axis=1)


def _scores(output: int, label: str, taken: Array, true: Array) -> ClassScores:
    right, taken_count, true_count = int((taken & true).sum()), int(taken.sum()), int(true.sum())
    return ClassScores(
        output,
        label,
        true_count,
        precision=right / taken_count if taken_count else 0.0,
        recall=right / true_count if true_count else 0.0,
        f1=2 * right / (taken_count + true_count) if taken_count + true_count else 0.0,
    )
