"""The tables of a recipe, and the words that are allowed in them. Read and explained by :mod:`.recipe`."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edgepress_converters.options import Format as ConversionFormat

Fraction = Annotated[float, Field(gt=0, lt=1)]
Epochs = Annotated[int, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0)]
Patience = Annotated[int, Field(ge=1)]
Block = Literal["1x4", "1x16"]
Signal = Literal["response", "hint", "attention", "distance", "angle", "similarity"]
Positive = Annotated[float, Field(gt=0)]
Length = Annotated[int, Field(ge=1)]
Criterion = Literal["l1", "l2", "batchnorm-scale", "geometric-median", "taylor", "activation"]

_ROUNDS = 3  # of channels and blocks: each costs a training of its own
_ROUNDS_OF_WEIGHTS = 20  # a new mask costs nothing


def _one_word(value: object) -> object:
    """A word alone is a sum of one."""
    return {value: 1.0} if isinstance(value, str) else value


def _one_number(value: object) -> object:
    return (float(value),) if isinstance(value, int | float) else value


def _one_name(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Table(BaseModel):
    """What all tables have in common: no unknown keys, no conversions between types, no changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def _fill(self, key: str, default: object) -> None:
        if getattr(self, key) is None:
            object.__setattr__(self, key, default)


class PruneStep(Table):
    """Remove what matters least.

    Attributes:
        structure: single weights (set to zero), neurons of Dense layers, filters of convolutions, or whole layers.
        sparsity: the share to remove.
        schedule: all at once, or gradually while training.
        begin, end: of ``gradual``: the shares of the epochs between which it prunes.
        rounds: of ``gradual``: how often it prunes between these.
        scope: the share in each layer or group (local), or over all of them (global).
        block: of ``weights``: zeros come as so many inputs of one output at a time, as sparse kernels read them.
        importance: of ``filters`` and ``neurons``: what they are ranked by.
        round_to: of ``filters`` and ``neurons``: what is kept is a multiple of this, as kernels like it; left out: as
            those of the device do, or 8.
        reconstruct: of ``filters`` and ``neurons``: layers that read removed channels are fitted to what they said.
        keep: patterns of names of layers to leave alone.
        epochs, learning_rate: of the fine-tuning after it; no learning rate: the compiled one.
        patience: it stops after so many epochs without a better validation loss; left out: at its end.
    """

    kind: Literal["prune"]
    structure: Literal["weights", "neurons", "filters", "layers"]
    sparsity: Fraction
    schedule: Literal["one-shot", "gradual"] = "one-shot"
    begin: Annotated[float, Field(ge=0, lt=1)] | None = None
    end: Annotated[float, Field(gt=0, le=1)] | None = None
    rounds: Annotated[int, Field(ge=2)] | None = None
    scope: Literal["local", "global"] | None = None
    block: Block | None = None
    importance: Criterion | None = None
    round_to: Annotated[int, Field(ge=1)] | None = None
    reconstruct: bool | None = None
    keep: tuple[str, ...] = Field(default=(), strict=False)
    epochs: Epochs = 5
    learning_rate: LearningRate | None = None
    patience: Patience | None = None

    @model_validator(mode="after")
    def _options_fit_the_structure(self) -> Self:
        channels = self.structure in ("filters", "neurons")
        for key in ("importance", "round_to", "reconstruct"):
            if getattr(self, key) is not None and not channels:
                raise ValueError(f'{key} goes with structure = "filters" or "neurons", not with "{self.structure}"')
        if self.block is not None and self.structure != "weights":
            raise ValueError(f'block goes with structure = "weights", not with "{self.structure}"')
        if self.scope is not None and self.structure == "layers":
            raise ValueError('scope goes with weights, filters and neurons, not with structure = "layers"')
        if self.structure != "layers":
            self._fill("scope", "local")
        if channels:
            self._fill("importance", "batchnorm-scale")
            self._fill("reconstruct", True)
        return self

    @model_validator(mode="after")
    def _options_fit_the_schedule(self) -> Self:
        if self.schedule == "one-shot":
            for key in ("begin", "end", "rounds"):
                if getattr(self, key) is not None:
                    raise ValueError(f'{key} goes with schedule = "gradual"')
            return self
        weights = self.structure == "weights"
        self._fill("begin", 0.0)
        self._fill("end", 0.5)
        self._fill("rounds", _ROUNDS_OF_WEIGHTS if weights else _ROUNDS)
        assert self.begin is not None
        assert self.end is not None
        assert self.rounds is not None
        if self.begin >= self.end:
            raise ValueError(f"begin is {self.begin:g} and end is {self.end:g}: the end comes later")
        if weights and not self.epochs:
            raise ValueError('schedule = "gradual" prunes while it trains: at least 1 epoch, not 0')
        if not weights and len(set(self.round_starts)) < self.rounds:
            enough = math.ceil((self.rounds - 1) / (self.end - self.begin))
            raise ValueError(
                f'schedule = "gradual" trains between its rounds: {self.rounds} rounds from {self.begin:g} to '
                f"{self.end:g} of {self.epochs} epochs leave no epoch between some; {enough} epochs are enough"
            )
        return self

    @property
    def round_starts(self) -> tuple[int, ...]:
        """After how many epochs each round of a gradual pruning of channels or layers begins."""
        assert self.begin is not None  # filled in for this schedule
        assert self.end is not None
        assert self.rounds is not None
        last = self.rounds - 1
        shares = [self.begin + (self.end - self.begin) * number / last for number in range(self.rounds)]
        return tuple(int(share * self.epochs + 0.5) for share in shares)


class Rank(Table):
    """How many singular values a factorized layer keeps. Exactly one of these.

    Attributes:
        energy: as many as hold this share of the squared singular values.
        ratio: so many that this share of the layer's weights remains.
        fixed: this many.
        evbmf: as many as stand out of noise (empirical variational Bayes).
        parameters, macs: so many that this share of the model's weights or multiplications is left, and least is lost.
        faster: the most with which the device is measured to be faster.
    """

    energy: Fraction | None = None
    ratio: Fraction | None = None
    fixed: Annotated[int, Field(ge=1)] | None = None
    evbmf: Literal[True] | None = None
    parameters: Fraction | None = None
    macs: Fraction | None = None
    faster: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = sorted(self.model_dump(exclude_none=True))
        if len(given) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"exactly one of {known} is wanted, got {' and '.join(given) or 'none'}")
        return self


class FactorizeStep(Table):
    """Put small layers in place of a large one.

    Attributes:
        method: how convolutions larger than 1x1 are taken apart; all other layers are by SVD.
        keep: patterns of names of layers to leave alone.
        epochs, learning_rate, patience: of the fine-tuning after it, as of :class:`PruneStep`.
    """

    kind: Literal["factorize"]
    method: Literal["svd", "spatial-svd", "tucker2", "cp"] = "svd"
    rank: Rank = Rank(energy=0.95)
    keep: tuple[str, ...] = Field(default=(), strict=False)
    epochs: Epochs = 5
    learning_rate: LearningRate | None = None
    patience: Patience | None = None


class Scale(Table):
    """A student like its teacher, but narrower or with fewer layers.

    Attributes:
        width: of the number of filters and units.
        depth: of the number of layers of one shape after another.
    """

    width: Annotated[float, Field(gt=0, le=1)] = 1.0
    depth: Annotated[float, Field(gt=0, le=1)] = 1.0


class DistillStep(Table):
    """Train a student on what a teacher answers.

    Attributes:
        signal: what the student learns of the teacher: one word, or several with the weight of each.
        teacher: .keras files, relative to the recipe's own folder; left out: the model as it came in.
        student: a scaling, or a .keras file; left out: the model as the steps before left it.
        layers: of signals other than ``response``: layers of the student and the teacher's that each looks at; left
            out: chosen by the size of what they give.
        mutual: the teacher learns, too, from the labels and from the student (Zhang et al. 2018).
        epochs, learning_rate, patience: of the training, as of :class:`PruneStep`.
        temperature: softens the teacher's probabilities (Hinton et al. 2015).
        alpha: share of the teacher's signals in the loss; the labels have the rest.
    """

    kind: Literal["distill"]
    signal: Annotated[dict[Signal, Positive], BeforeValidator(_one_word)] = {"response": 1.0}
    teacher: Annotated[tuple[str, ...], BeforeValidator(_one_name), Field(strict=False)] = ()
    student: Scale | str | None = None
    layers: dict[str, str] = {}
    mutual: bool = False
    epochs: Annotated[int, Field(ge=1)] = 20
    learning_rate: LearningRate | None = None
    patience: Patience | None = None
    temperature: Annotated[float, Field(gt=0)] = 4.0
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _options_fit_the_signal(self) -> Self:
        if not self.signal:
            raise ValueError("signal is empty: name what the student learns of the teacher")
        others = [word for word in self.signal if word != "response"]
        if self.layers and not others:
            raise ValueError("layers goes with signals other than response, which is what the outputs say")
        if self.mutual and others:
            raise ValueError(f"with mutual, student and teacher exchange their response; {others[0]} is not built")
        return self


class QuantizeStep(Table):
    """Put the ranges of int8 into the model. Post-training quantization by the converter itself needs no step.

    Attributes:
        method: ranges from training data by the rule of ``convert.calibration`` (ptq); training on rounded weights and
            activations (qat); or the first of ever stronger means that loses no more than it may (ladder).
        max_drop: of ``ladder``: how much of the metric may be lost, measured on validation data with the file.
        epochs, learning_rate, patience: of the training, as of :class:`PruneStep`; no learning rate: a tenth of the
            compiled one. A ladder of 0 epochs trains nothing.
    """

    kind: Literal["quantize"]
    method: Literal["ptq", "qat", "ladder"]
    max_drop: Annotated[float, Field(ge=0, lt=1)] | None = None
    epochs: Epochs | None = None
    learning_rate: LearningRate | None = None
    patience: Patience | None = None

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> Self:
        if self.method == "ptq":
            for key in ("epochs", "learning_rate", "patience"):
                if getattr(self, key) is not None:
                    raise ValueError(f'{key} goes with method = "qat" or "ladder": "ptq" trains nothing')
        else:
            self._fill("epochs", 5)
        if self.method == "ladder":
            self._fill("max_drop", 0.003)
        elif self.max_drop is not None:
            raise ValueError('max_drop goes with method = "ladder"')
        return self


class Input(Table):
    """What the model's pictures are: ``(raw - mean) / scale`` of raw values from 0 to 255.

    Attributes:
        size: height and width.
        color: order of the channels.
        mean, scale: one number, or one per channel.
    """

    size: Annotated[tuple[Length, Length], Field(strict=False)]
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: Annotated[tuple[float, ...], BeforeValidator(_one_number), Field(strict=False)] = (0.0,)
    scale: Annotated[tuple[Positive, ...], BeforeValidator(_one_number), Field(strict=False)] = (1.0,)

    @model_validator(mode="after")
    def _numbers_fit_the_color(self) -> Self:
        channels = 1 if self.color == "gray" else 3
        for key in ("mean", "scale"):
            count = len(getattr(self, key))
            if count not in (1, channels):
                raise ValueError(f"{key} has {count} numbers; {self.color} pictures take one, or one per channel")
        return self


class Convert(Table):
    """How the model becomes a TFLite file: :class:`edgepress_converters.options.ConversionOptions`, same words.

    Attributes:
        sparse: whether zeros are left out of the file: never, always, or where the device runs that file faster. Left
            out: ``if-faster`` in a recipe that prunes blocks, else ``never``.
        repack: whether names and whatever else no runtime reads are left out. Left out: of files below 8 MiB.
    """

    format: ConversionFormat = "float32"
    io: Literal["float32", "int8"] = "int8"
    backend: Literal["tflite", "ai-edge-quantizer"] = "tflite"
    int4_weights: tuple[str, ...] = Field(default=(), strict=False)
    calibration: Literal["minmax", "percentile", "mse"] = "minmax"
    calibration_samples: Annotated[int, Field(ge=1)] = 200
    allow_float: tuple[str, ...] = Field(default=(), strict=False)
    runtimes: tuple[str, ...] = Field(default=(), strict=False)
    sparse: Literal["never", "if-faster", "always"] | None = None
    repack: bool | None = None


StepSettings = PruneStep | FactorizeStep | DistillStep | QuantizeStep
