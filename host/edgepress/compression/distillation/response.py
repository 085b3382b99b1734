"""Response distillation: the student learns the teacher's whole answer, not only the label (Hinton et al. 2015).

For classes: Kullback-Leibler divergence between both at a temperature T, times T^2 so that its gradients keep their
size. It acts on logits. A model that ends in softmax has none, but the logarithm of its probabilities is its logits up
to a constant, which softmax does not see. For values (regression): mean squared difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.distillation.students import scaled_width
from edgepress.compression.recipe import DistillStep, Width
from edgepress.compression.steps import Change, StepContext, StepOutcome
from edgepress.errors import CompressionError
from edgepress.models import load_model, model_sha256
from edgepress.training.evaluate import predict
from edgepress.training.fit import Guidance, Loss, fine_tune
from edgepress.training.objective import OutputKind

_SMALLEST_PROBABILITY = 1e-30  # keeps logarithms finite in float32


def distill_response(model: Any, settings: DistillStep, context: StepContext) -> StepOutcome:
    """Train a student on the teacher's outputs and the labels. The teacher is only asked, never changed."""
    student, changed = _student(model, settings, context)
    guidance = guidance_of(settings, context, student)
    tuned = fine_tune(
        student,
        context.data,
        context.objective,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        guidance=guidance,
        seed=context.seed,
        progress=context.progress,
        description="Distilling",
    )
    return StepOutcome(tuned.model, context.conversion, changed, notes=(tuned.summary,), choices=_files(settings))


def guidance_of(settings: DistillStep, context: StepContext, student: Any) -> Guidance:
    """Ask the teacher of a step about the training data.

    Raises:
        CompressionError: it takes or gives other shapes than the student. ModelError: its file cannot be used.
    """
    teacher = context.original if settings.teacher is None else load_model(Path(settings.teacher))
    _check_pair(teacher, student)
    with context.progress.task("Asking the teacher"):
        signals = predict(teacher, context.data.train.inputs)
    kinds = context.objective.output_kinds
    return Guidance(
        signals=tuple(_teacher_signal(output, kind) for output, kind in zip(signals, kinds, strict=True)),
        losses=tuple(_loss(kind, settings.temperature) for kind in kinds),
        weight=settings.alpha,
    )


def _student(model: Any, settings: DistillStep, context: StepContext) -> tuple[Any, tuple[Change, ...]]:
    if isinstance(settings.student, Width):
        return scaled_width(model, settings.student.width, context.seed)
    if settings.student is not None:
        return load_model(Path(settings.student)), (Change("model", f"replaced by {Path(settings.student).name}"),)
    return model, ()


def _files(settings: DistillStep) -> dict[str, Any]:
    """Models given as files are known by content, not by where they lie."""
    files = {"teacher": settings.teacher, "student": settings.student}
    return {key: {"sha256": model_sha256(Path(path))} for key, path in files.items() if isinstance(path, str)}


def _check_pair(teacher: Any, student: Any) -> None:
    for what, of_teacher, of_student in (
        ("inputs", teacher.inputs, student.inputs),
        ("outputs", teacher.outputs, student.outputs),
    ):
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (of_teacher, of_student)]
        if shapes[0] != shapes[1]:
            raise CompressionError(
                f"teacher and student do not fit: the teacher has {what} of shape {shapes[0]}, the student {shapes[1]}"
            )


def _teacher_signal(output: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float32]:
    """Logits where there are any to be had, values otherwise."""
    if kind == "probabilities":
        return np.log(np.maximum(output, _SMALLEST_PROBABILITY))
    if kind == "sigmoid":
        probability = np.clip(output, _SMALLEST_PROBABILITY, 1 - np.finfo(np.float32).epsneg)
        return np.asarray(np.log(probability) - np.log1p(-probability), np.float32)
    return output


def _loss(kind: OutputKind, temperature: float) -> Loss:
    ops = keras.ops

    def between_classes(teacher: Any, output: Any) -> Any:
        student = ops.log(ops.maximum(output, _SMALLEST_PROBABILITY)) if kind == "probabilities" else output
        wanted = ops.log_softmax(teacher / temperature, axis=-1)
        given = ops.log_softmax(student / temperature, axis=-1)
        return temperature**2 * ops.sum(ops.exp(wanted) * (wanted - given), axis=-1)

    def between_binaries(teacher: Any, output: Any) -> Any:
        student = _logit(output) if kind == "sigmoid" else output
        wanted = ops.sigmoid(teacher / temperature)
        return temperature**2 * ops.mean(
            keras.losses.binary_crossentropy(wanted, student / temperature, from_logits=True), axis=-1
        )

    def between_values(teacher: Any, output: Any) -> Any:
        return ops.mean(ops.square(teacher - output), axis=-1)

    if kind in ("probabilities", "logits"):
        return between_classes
    if kind in ("sigmoid", "binary logits"):
        return between_binaries
    return between_values


def _logit(probability: Any) -> Any:
    probability = keras.ops.clip(probability, 1e-6, 1 - 1e-6)
    return keras.ops.log(probability) - keras.ops.log(1 - probability)
