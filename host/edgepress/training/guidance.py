"""A second signal beside the targets: what a teacher says, or a second student.

What is compared are tensors: one of the student, one of the teacher. The teacher's is either known beforehand for every
sample, and then an input of the model that is trained, or computed along with it, batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

Loss = Callable[[Any, Any], Any]
"""``(wanted, given)``, both with a batch axis -> the loss, of any shape: its mean counts."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """One thing that the student is to say as its teacher does.

    Attributes:
        given: a tensor of the student.
        wanted: the tensor to compare it with: made from the student's inputs or from inputs of the lessons.
        loss: how far they are apart.
        weight: of this loss among the lessons.
        projected: whether the student's channels pass a matrix that is trained along and then thrown away, since the
            teacher has another number of them.
    """

    given: Any
    wanted: Any
    loss: Loss
    weight: float = 1.0
    projected: bool = False


@dataclass(frozen=True, eq=False)
class Lessons:
    """All lessons of one student.

    Attributes:
        inputs: of the lessons, beside the student's own.
        arrays: what these are fed: ``(n, ...)`` each, for the samples of the training split.
        peers: outputs of models that learn from the same targets along with the student, on the student's inputs.
    """

    lessons: Sequence[Lesson]
    inputs: Sequence[Any] = ()
    arrays: Sequence[NDArray[Any]] = ()
    peers: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True, eq=False)
class Guidance:
    """Lessons for whoever is trained.

    Attributes:
        weight: their share of the loss; the targets have the rest.
        lessons_for: given a student (flat, and the very model whose weights are trained), its lessons.
    """

    weight: float
    lessons_for: Callable[[Any], Lessons]


def with_lessons(student: Any, guidance: Guidance) -> tuple[Any, Lessons]:
    """Return the model to train in place of ``student``, over the same layers, and the lessons in it.

    It takes the student's inputs and those of the lessons, and gives the student's outputs and then the peers'.
    """
    lessons = guidance.lessons_for(student)
    first, *others = student.outputs
    for number, lesson in enumerate(lessons.lessons):
        compare = _Compare(
            lesson.loss, guidance.weight * lesson.weight, lesson.projected, name=f"edgepress_lesson_{number}"
        )
        first = compare(first, lesson.given, lesson.wanted)
    peers = [output for peer in lessons.peers for output in peer]
    return keras.Model([*student.inputs, *lessons.inputs], [first, *others, *peers]), lessons


class _Compare(keras.layers.Layer):  # type: ignore[misc]
    """Passes its first input on, and adds a loss between the other two. Never saved."""

    def __init__(self, loss: Loss, weight: float, projected: bool, name: str) -> None:
        super().__init__(name=name)
        self._loss = loss
        self._weight = weight
        self._projected = projected
        self._projection: Any = None

    def build(self, passed_shape: Any, given_shape: Any, wanted_shape: Any) -> None:
        del passed_shape
        if self._projected:
            self._projection = self.add_weight(shape=(given_shape[-1], wanted_shape[-1]), name="projection")

    def call(self, passed: Any, given: Any, wanted: Any) -> Any:
        if self._projection is not None:
            given = keras.ops.matmul(given, self._projection)
        self.add_loss(self._weight * keras.ops.mean(self._loss(wanted, given)))
        return passed
