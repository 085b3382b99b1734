"""The step ``distill``: a student is trained on what its teachers say and on the labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edgepress.compression.distillation.mutual import mutual_lessons
from edgepress.compression.distillation.students import scaled
from edgepress.compression.distillation.teachers import compared_layers, lessons_of
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.recipe import DistillStep, Scale
from edgepress.compression.recovery import learning_rate_of
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.errors import CompressionError
from edgepress.models import load_model, model_sha256
from edgepress.training.fit import fine_tune
from edgepress.training.guidance import Guidance
from edgepress.training.objective import last_activations

_PROBABILITIES = {"softmax", "sigmoid"}


def distill(model: Any, settings: DistillStep, context: StepContext) -> StepOutcome:
    """Train a student. Teachers are asked, never changed; with ``mutual`` copies of them learn along."""
    student, changed, skipped = _student(model, settings, context)
    teachers = _teachers(settings, context)
    tuned = fine_tune(
        student,
        context.data,
        context.objective,
        epochs=settings.epochs,
        learning_rate=learning_rate_of(settings, context.objective),
        patience=settings.patience,
        guidance=_guidance(teachers, settings, context, student),
        seed=context.seed,
        progress=context.progress,
        description="Distilling",
    )
    layers = compared_layers(copy_of(student), teachers, settings)
    notes = (tuned.summary,) if layers is None else (tuned.summary, layers)
    return StepOutcome(tuned.model, context.conversion, changed, skipped, notes, choices=_files(settings))


def guidance_of(settings: DistillStep, context: StepContext, student: Any) -> Guidance:
    """Return what the teachers of a step have to say to a student, or to one made from it.

    Raises:
        CompressionError: a teacher takes or gives other shapes than the student. ModelError: its file cannot be used.
    """
    return _guidance(_teachers(settings, context), settings, context, student)


def check_files(settings: DistillStep, original: Any) -> None:
    """Check that the models that a step names go with the model that is compressed.

    Raises:
        CompressionError: they take or give other shapes, or one gives probabilities where another gives logits.
            ModelError: a file cannot be used.
    """
    files = [*settings.teacher, *([settings.student] if isinstance(settings.student, str) else [])]
    for file in files:
        named = load_model(Path(file))
        check_pair(named, original, names=(Path(file).name, "the model"))
        for its, ours in zip(*map(last_activations, (named, original)), strict=True):
            if its != ours and {its, ours} & _PROBABILITIES:
                raise CompressionError(
                    f"teacher and student do not fit: {Path(file).name} ends in {its}, the model in {ours}. Outputs "
                    "are compared, and judged by one loss: let both end alike"
                )


def check_pair(teacher: Any, student: Any, names: tuple[str, str] = ("the teacher", "the student")) -> None:
    """Check that two models take and give tensors of the same shapes.

    Args:
        names: what an error calls them.

    Raises:
        CompressionError: they do not.
    """
    for what, of_teacher, of_student in (
        ("inputs", teacher.inputs, student.inputs),
        ("outputs", teacher.outputs, student.outputs),
    ):
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (of_teacher, of_student)]
        if shapes[0] != shapes[1]:
            raise CompressionError(
                f"teacher and student do not fit: {names[0]} has {what} of shape {shapes[0]}, {names[1]} {shapes[1]}"
            )


def _guidance(teachers: Sequence[Any], settings: DistillStep, context: StepContext, student: Any) -> Guidance:
    for teacher in teachers:
        check_pair(teacher, student)
    if settings.mutual:
        sibling = not settings.teacher and isinstance(settings.student, Scale)
        return Guidance(settings.alpha, partial(mutual_lessons, None if sibling else teachers, settings, context))
    return Guidance(settings.alpha, lambda trained: lessons_of(trained, teachers, settings, context))


def _teachers(settings: DistillStep, context: StepContext) -> Sequence[Any]:
    return [load_model(Path(file)) for file in settings.teacher] or [context.original]


def _student(
    model: Any, settings: DistillStep, context: StepContext
) -> tuple[Any, tuple[Change, ...], tuple[Skip, ...]]:
    if isinstance(settings.student, Scale):
        return scaled(model, settings.student, context.seed)
    if settings.student is not None:
        change = Change("model", f"replaced by {Path(settings.student).name}")
        return load_model(Path(settings.student)), (change,), ()
    return model, (), ()


def _files(settings: DistillStep) -> dict[str, Any]:
    """Models given as files are known by content, not by where they lie."""
    found: dict[str, Any] = {}
    if settings.teacher:
        found["teacher"] = [{"sha256": model_sha256(Path(file))} for file in settings.teacher]
    if isinstance(settings.student, str):
        found["student"] = {"sha256": model_sha256(Path(settings.student))}
    return found
