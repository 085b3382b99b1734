"""Students that teach each other while both learn (deep mutual learning: Zhang et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from edgepress.compression.distillation.signals import logits_of, response
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of, untrained
from edgepress.compression.recipe import DistillStep
from edgepress.compression.steps import StepContext
from edgepress.training.guidance import Lesson, Lessons
from edgepress.training.seeds import seeded


def mutual_lessons(
    teachers: Sequence[Any] | None, settings: DistillStep, context: StepContext, student: Any
) -> Lessons:
    """Return the lessons of a student and its peers: each learns the labels, and from the mean of what the others say.

    Args:
        teachers: copies of these are the peers; None: another student like it, from other weights.
        student: flat; the model that will be trained.
    """
    if teachers is None:
        with seeded(context.seed + 1):
            peers = [untrained(read(student))]
    else:
        peers = [copy_of(teacher) for teacher in teachers]
    said = [list(student.outputs)]
    for number, peer in enumerate(peers):
        named = keras.Model(list(peer.inputs), list(peer.outputs), name=f"edgepress_peer_{number}")
        said.append(list(keras.tree.flatten(named(list(student.inputs)))))
    kinds = context.objective.output_kinds
    weights = context.objective.loss_weights or (1.0,) * len(kinds)
    share = settings.signal["response"] / (len(said) - 1)
    lessons = [
        Lesson(given[index], _fixed(wanted[index], kind), response(kind, settings.temperature), share * of_output)
        for given in said
        for wanted in said
        if wanted is not given
        for index, (kind, of_output) in enumerate(zip(kinds, weights, strict=True))
    ]
    return Lessons(lessons, peers=said[1:])


def _fixed(output: Any, kind: Any) -> Any:
    """What another one says, as something that is not to follow."""
    return keras.ops.stop_gradient(logits_of(output, kind))
