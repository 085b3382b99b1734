"""What a compression step is.

A step is a pure function: it gets a Keras model and gives another one back; it never changes the one it was given, and
what it knows of the data is :class:`~edgepress.data.TrainingData` (the held-out split cannot reach it). A step of a new
kind needs a configuration class in ``recipe_tables.py`` and an entry in ``compress.STEPS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgepress.progress import Progress, Silent

if TYPE_CHECKING:
    import keras

    from edgepress.data import TrainingData
    from edgepress.training.guidance import Guidance
    from edgepress.training.objective import Objective
    from edgepress_agent.protocol.messages import RunReport
    from edgepress_converters.model import TFLiteModel
    from edgepress_converters.options import ConversionOptions
    from edgepress_converters.pool import WorkerPool

_CHANNEL_MULTIPLE = 8  # what most kernels work on at a time


@dataclass(frozen=True)
class Judge:
    """A board that can be asked what is faster, and whose profile says what its kernels like.

    Attributes:
        device: its name in the inventory.
        measure: measures files against each other, in one interleaved session. The run of a file that the board refuses
            has no samples, and says why in its failures. Raises DeviceError where the board cannot say.
        channel_multiple: how many channels fill its kernels, by TFLite format; None where nobody knows.
    """

    device: str
    measure: Callable[[Sequence[TFLiteModel]], tuple[RunReport, ...]]
    channel_multiple: Callable[[str], int | None] = lambda _: None


def channel_multiple(judge: Judge | None, format: str) -> int:
    """Return what numbers of channels are rounded to where a recipe does not say: as the device likes it, else 8."""
    return (judge.channel_multiple(format) if judge is not None else None) or _CHANNEL_MULTIPLE


@dataclass(frozen=True)
class StepContext:
    """What a step works with besides the model.

    Attributes:
        data: training and validation data.
        objective: loss, metric and learning rate: how any model of this run is trained and judged.
        original: the model as it came in, the default teacher. Not to be changed.
        conversion: the options as the recipe and the steps before left them.
        judge: asks the board, or None: then the step takes its default, and its entry says "not measured".
        seed: of every random choice the step makes.
        progress: where it says how far it is.
        pool: makes and runs TFLite files, for steps that are judged by these; None: such a step starts one of its own.
        guidance: what a distill step that follows will train this model with, for the fine-tuning before it; None: none
            follows, or it trains another model.
        answers: a folder for what teachers answered, which costs time to ask again; None: it is not kept.
    """

    data: TrainingData
    objective: Objective
    original: keras.Model
    conversion: ConversionOptions
    judge: Judge | None = None
    seed: int = 0
    progress: Progress = field(default_factory=Silent)
    pool: WorkerPool | None = None
    guidance: Callable[[], Guidance] | None = None
    answers: Path | None = None


@dataclass(frozen=True)
class Change:
    """Something a step did to a layer: ``layer``, and in words and numbers what (``64 -> 32 filters``)."""

    layer: str
    what: str


@dataclass(frozen=True)
class Skip:
    """Something a step left alone, and why."""

    layer: str
    why: str


@dataclass(frozen=True)
class StepEntry:
    """A step's part of the :class:`~edgepress.compression.report.CompressionReport`. Fractions are 0..1.

    Attributes:
        kind: the recipe's word.
        settings: every setting with its value, defaults and choices filled in: what the recipe id is made from.
        parameters_before, parameters_after: number of weights.
        macs_before, macs_after: multiply-accumulates of one inference.
        metric_before, metric_after: on the validation split.
        duration_s: wall time of the step.
        notes: sentences a user should read, "not measured" among them.
        largest_difference: of a structural change: between the smaller model's logits and those of the model with the
            removed parts zeroed, relative to the largest logit.
    """

    kind: str
    settings: dict[str, Any]
    changed: tuple[Change, ...]
    skipped: tuple[Skip, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    metric_before: float
    metric_after: float
    duration_s: float
    notes: tuple[str, ...] = ()
    largest_difference: float | None = None


@dataclass(frozen=True)
class StepOutcome:
    """What a step gives back: the new model, the options for its conversion, and what it changed.

    Parameters, MACs, metric and time around the step are measured by ``compress``, the same way for all."""

    model: keras.Model
    conversion: ConversionOptions
    changed: tuple[Change, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    choices: dict[str, Any] = field(default_factory=dict)
    largest_difference: float | None = None


class Step(Protocol):
    """A kind of step: configuration from the recipe in, outcome out."""

    def __call__(self, model: keras.Model, settings: Any, context: StepContext, /) -> StepOutcome: ...
