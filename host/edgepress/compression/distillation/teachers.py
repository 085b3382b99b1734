"""Teachers, and what they answer: asked once and kept, or batch by batch while the student trains.

A teacher is asked through a copy of its own, so that its owner finds it as it was: not frozen, not trained.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.checkpoints import key_of, model_fingerprint
from edgepress.compression.distillation.pairs import Pair, embedding_pairs, named_pairs, pairs_by_size
from edgepress.compression.distillation.signals import (
    RELATIONS,
    attention,
    attention_map,
    flattened,
    hint,
    logits_of,
    mean_answer,
    response,
)
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.recipe import DistillStep
from edgepress.compression.steps import StepContext
from edgepress.data.fingerprint import sha256_of_arrays
from edgepress.errors import CompressionError
from edgepress.training.evaluate import predict
from edgepress.training.guidance import Lesson, Lessons, Loss

_LARGEST_KEPT_BYTES = 1 << 30  # of answers; larger ones are asked for again in every epoch


@dataclass(frozen=True, eq=False)
class _Question:
    """What is asked of the teachers: a tensor of a functional model over their inputs, and how it is compared.

    ``about`` is the question in JSON values.
    """

    wanted: Any
    given: Any
    loss: Loss
    weight: float
    about: tuple[str, ...]
    projected: bool = False


def lessons_of(student: Any, teachers: Sequence[Any], settings: DistillStep, context: StepContext) -> Lessons:
    """Return what a student learns from teachers that do not learn themselves.

    Args:
        student: flat; the model that will be trained.
        teachers: of the same inputs and outputs. They are not changed.

    Raises:
        CompressionError: no layers can be compared.
    """
    inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in student.inputs]
    questions = _questions(student, teachers, inputs, settings, context)
    asked = keras.Model(inputs, [question.wanted for question in questions])
    per_sample = sum(4 * int(np.prod(question.wanted.shape[1:])) for question in questions)
    kept = context.objective.augmentation is None and per_sample * len(context.data.train) <= _LARGEST_KEPT_BYTES
    arrays: tuple[NDArray[Any], ...] = ()
    if kept:
        arrays = _answers(asked, teachers, questions, context)
        wanted = [keras.Input(array.shape[1:], name=f"edgepress_answer_{i}") for i, array in enumerate(arrays)]
    else:
        answers = _Asked(asked)(*student.inputs)
        wanted = list(answers) if len(questions) > 1 else [answers]
    return Lessons(
        [
            Lesson(question.given, tensor, question.loss, question.weight, question.projected)
            for question, tensor in zip(questions, wanted, strict=True)
        ],
        inputs=wanted if kept else (),
        arrays=arrays,
    )


def compared_layers(student: Any, teachers: Sequence[Any], settings: DistillStep) -> str | None:
    """Return a sentence that says which layers the signals look at, for the report; None where they look at none."""
    words = [word for word in settings.signal if word != "response"]
    if not words:
        return None
    found = []
    for word in words:
        for teacher in teachers:
            pairs = ", ".join(
                f"{pair.student} with {pair.teacher}" for pair in _pairs(word, student, teacher, settings)
            )
            found.append(f"{word} compares {pairs}")
    return "; ".join(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class _Said:
    """What one teacher says of the student's inputs: its outputs, and by name what layers give."""

    outputs: list[Any]
    layers: dict[str, Any]


def _questions(
    student: Any, teachers: Sequence[Any], inputs: Sequence[Any], settings: DistillStep, context: StepContext
) -> list[_Question]:
    words = [word for word in settings.signal if word != "response"]
    pairs = [{word: _pairs(word, student, teacher, settings) for word in words} for teacher in teachers]
    said = [
        _said(teacher, [pair.teacher for of_word in its.values() for pair in of_word], inputs)
        for teacher, its in zip(teachers, pairs, strict=True)
    ]
    questions = _about_outputs(student, said, settings, context) if "response" in settings.signal else []
    for number, (its, of_teacher) in enumerate(zip(pairs, said, strict=True)):
        for word, of_word in its.items():
            share = settings.signal[word] / len(teachers) / len(of_word)
            for pair in of_word:
                given, wanted = _tensor(student, pair.student), of_teacher.layers[pair.teacher]
                about = (word, str(number), pair.teacher)
                if word in RELATIONS:
                    questions.append(_Question(flattened(wanted), given, RELATIONS[word], share, about))
                    continue
                _check_places(pair, given, wanted)
                if word == "attention":
                    questions.append(_Question(attention_map(wanted), given, attention, share, about))
                else:
                    projected = given.shape[-1] != wanted.shape[-1]
                    questions.append(_Question(wanted, given, hint, share, about, projected))
    return questions


def _about_outputs(student: Any, said: Sequence[_Said], settings: DistillStep, context: StepContext) -> list[_Question]:
    kinds = context.objective.output_kinds
    weights = context.objective.loss_weights or (1.0,) * len(kinds)
    return [
        _Question(
            mean_answer([logits_of(one.outputs[index], kind) for one in said], kind, settings.temperature),
            student.outputs[index],
            response(kind, settings.temperature),
            settings.signal["response"] * of_output,
            ("response", kind, str(settings.temperature if len(said) > 1 else None)),
        )
        for index, (kind, of_output) in enumerate(zip(kinds, weights, strict=True))
    ]


def _pairs(word: str, student: Any, teacher: Any, settings: DistillStep) -> tuple[Pair, ...]:
    graphs = read(student), read(teacher)
    if settings.layers:
        return named_pairs(*graphs, settings.layers)
    return embedding_pairs(*graphs) if word in RELATIONS else pairs_by_size(*graphs)


def _tensor(model: Any, layer: str) -> Any:
    """What a layer of a flat model gives."""
    (node,) = read(model).calls(layer)
    return node.operation.output


def _check_places(pair: Pair, given: Any, wanted: Any) -> None:
    if given.shape[1:-1] != wanted.shape[1:-1]:
        raise CompressionError(
            f"the student's layer {pair.student!r} gives {tuple(given.shape[1:])}, the teacher's {pair.teacher!r} "
            f"{tuple(wanted.shape[1:])}: hint and attention compare feature maps of one size"
        )


def _said(teacher: Any, layers: Sequence[str], inputs: Sequence[Any]) -> _Said:
    """Ask a copy of a teacher, in inference and once for everything."""
    copy = copy_of(teacher)
    names = list(dict.fromkeys(layers))
    view = keras.Model(list(copy.inputs), [*copy.outputs, *(_tensor(copy, name) for name in names)])
    said = list(keras.tree.flatten(view(list(inputs), training=False)))
    count = len(copy.outputs)
    return _Said(said[:count], dict(zip(names, said[count:], strict=True)))


def _answers(
    asked: Any, teachers: Sequence[Any], questions: Sequence[_Question], context: StepContext
) -> tuple[NDArray[Any], ...]:
    """The answers for the training split: from the disk where the same was asked before."""
    path = None
    if context.answers is not None:
        key = key_of(
            [model_fingerprint(teacher) for teacher in teachers],
            sha256_of_arrays(context.data.train.inputs),
            [question.about for question in questions],
        )
        path = context.answers / f"{key[:32]}.npys"
        found = _read(path, len(questions))
        if found is not None:
            return found
    with context.progress.task("Asking the teacher" if len(teachers) == 1 else "Asking the teachers"):
        arrays = predict(asked, context.data.train.inputs)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.{os.getpid()}.part.npys")
        with part.open("wb") as file:
            for array in arrays:
                np.save(file, array)
        part.replace(path)
    return arrays


def _read(path: Path, count: int) -> tuple[NDArray[Any], ...] | None:
    try:
        with path.open("rb") as file:
            return tuple(np.load(file, allow_pickle=False) for _ in range(count))
    except (OSError, ValueError, EOFError):  # absent, or damaged: asked anew
        return None


class _Asked(keras.layers.Layer):  # type: ignore[misc]
    """Teachers inside of a model that is trained: not trained themselves, and not seen by what reads its graph."""

    def __init__(self, asked: Any) -> None:
        super().__init__(name="edgepress_teachers")
        self._asked = asked
        self.trainable = False

    def call(self, *inputs: Any) -> Any:
        return self._asked(list(inputs), training=False)
