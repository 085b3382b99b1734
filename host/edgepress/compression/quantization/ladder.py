"""The ladder: int8 by the least that keeps a model within a tolerance.

Post-training quantization, better ranges, equalization with bias correction, the worst layers left in float, training
with rounding: each rung costs more than the one before, and the first whose *file* loses no more than allowed on
validation data is taken. None is taken silently that loses more.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepress.benchmarking.comparison import compare_runs
from edgepress.benchmarking.session import require_samples
from edgepress.compression.graph.reader import read
from edgepress.compression.quantization.annotate import Annotated, annotate
from edgepress.compression.quantization.bias_correction import correct_biases
from edgepress.compression.quantization.causes import preprocessing_mismatch
from edgepress.compression.quantization.diagnosis import diagnose
from edgepress.compression.quantization.equalization import Equalized, equalize
from edgepress.compression.quantization.folding import fold_batchnorm
from edgepress.compression.quantization.qat import quantize_aware
from edgepress.compression.quantization.ranges import set_ranges
from edgepress.compression.recipe import QuantizeStep
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.conversion import convert_model
from edgepress.data import Split
from edgepress.errors import CompressionError, ConversionError, DeviceError, WorkerDied
from edgepress.training.evaluate import predict
from edgepress.training.metrics import metric_named
from edgepress.verification.reference import run_file, to_real
from edgepress_converters.options import Calibration, ConversionOptions
from edgepress_converters.pool import WorkerPool

if TYPE_CHECKING:
    from edgepress_converters.model import TFLiteModel

AFTER_TRAINING, RANGES, EQUALIZED, FLOAT, TRAINED = (
    "post-training",
    "better ranges",
    "equalization and bias correction",
    "worst layers in float",
    "quantization-aware training",
)
"""The rungs, from below."""

_IN_FLOAT = (1, 2, 4)  # of the worst layers, with what makes what they read
_CONFIDENCE = 1.96


@dataclass(frozen=True)
class _Candidate:
    """What a rung would return.

    Attributes:
        words: what was done, for people.
        ranges: by which rule they were taken.
    """

    rung: str
    words: str
    model: Any
    options: ConversionOptions
    ranges: Calibration
    changed: tuple[Change, ...] = ()
    left: tuple[Skip, ...] = ()
    left_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Attempt:
    """A candidate with its file, and what that loses on validation data: ``drop``, and half its 95 % interval."""

    candidate: _Candidate
    file: TFLiteModel
    drop: float
    margin: float

    def __str__(self) -> str:
        return f"{self.candidate.words}: loses {self.drop:+.4f} ± {self.margin:.4f}, {self.file.size_bytes:,} bytes"


def climb_ladder(model: Any, settings: QuantizeStep, context: StepContext) -> StepOutcome:
    """Return a model whose int8 file loses at most ``settings.max_drop`` of the metric, by the first rung that does so.

    Where none does, the one that loses least is returned and the notes begin with that.

    Raises:
        ConversionError: no rung gave a file.
    """
    pool: AbstractContextManager[WorkerPool] = nullcontext(context.pool) if context.pool else WorkerPool()
    with pool as opened, tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        return _Ladder(model, settings, context, opened, Path(folder)).climb()


class _Ladder:
    def __init__(
        self, model: Any, settings: QuantizeStep, context: StepContext, pool: WorkerPool, folder: Path
    ) -> None:
        self._model = model
        assert settings.max_drop is not None  # filled in by the recipe for this method
        self._settings = settings
        self._max_drop = settings.max_drop
        self._pool = pool
        self._folder = folder
        self._metric = metric_named(context.objective.metric)
        self._sign = 1.0 if self._metric.higher_is_better else -1.0
        self._reference = self._scores(predict(model, context.data.val.inputs), context.data.val)
        train, val = context.data.train, context.data.val
        self._mismatch = preprocessing_mismatch(model, train, val, self._metric, context.seed)
        if self._mismatch is not None:
            train = self._mismatch.repaired(train)
        self._context = dataclasses.replace(context, data=dataclasses.replace(context.data, train=train))
        self._calibration = train.sample(min(context.conversion.calibration_samples, len(train)), context.seed)
        self._attempts: list[_Attempt] = []
        self._failures: list[tuple[str, Exception]] = []

    def climb(self) -> StepOutcome:
        try:
            for candidate in self._rungs():
                attempt = self._judged(candidate)
                if attempt is not None:
                    self._attempts.append(attempt)
                    if attempt.drop <= self._max_drop:
                        break
        except CompressionError as error:  # a model that no range can be put into: what the converter made remains
            self._failures.append(("higher rungs", error))
        if not self._attempts:
            raise self._failures[-1][1]
        best = self._best()
        chosen = best.candidate
        return StepOutcome(
            chosen.model,
            chosen.options,
            changed=chosen.changed,
            skipped=chosen.left,
            notes=tuple(self._notes(best)),
            choices={
                "rung": chosen.rung,
                "ranges": chosen.ranges,
                **({"left_float": list(chosen.left_float)} if chosen.left_float else {}),
            },
        )

    def _rungs(self) -> Iterator[_Candidate]:
        """Candidates from below; what a rung is made of is made when it is reached."""
        options = dataclasses.replace(
            self._context.conversion, format="int8", ranges="calibrated", calibration="minmax"
        )
        if self._mismatch is None or self._mismatch.preparation is None:
            yield _Candidate(AFTER_TRAINING, AFTER_TRAINING, self._model, options, "minmax")
            methods: tuple[Calibration, ...] = ("percentile", "mse")
        else:
            methods = ("minmax", "percentile", "mse")
        annotated = annotate(self._model)
        for method in methods:
            rung = AFTER_TRAINING if method == "minmax" else RANGES
            yield self._annotated(rung, f"ranges by {method}", annotated, method)
        method = self._best().candidate.ranges if self._attempts else "mse"
        equalized = equalize(fold_batchnorm(self._model).model, self._calibration)
        whole = self._annotated(EQUALIZED, EQUALIZED, annotate(equalized.model), method)
        yield self._corrected(whole, equalized)
        yield from self._partly_float(equalized, whole)
        if self._settings.epochs:
            yield self._trained(equalized)

    def _corrected(self, candidate: _Candidate, equalized: Equalized) -> _Candidate:
        """A candidate made of an equalized model, with biases that undo the shift by rounding."""
        model = correct_biases(candidate.model, self._calibration)
        return dataclasses.replace(candidate, model=model, changed=equalized.changed)

    def _partly_float(self, equalized: Equalized, whole: _Candidate) -> Iterator[_Candidate]:
        """With more and more of the worst layers in float, and the layers that make what these read.

        Args:
            whole: the equalized model with ranges everywhere.
        """
        ranked = diagnose(whole.model, self._calibration).ranked
        nodes = read(equalized.model).nodes
        names = [node.name for node in nodes if node.inputs]  # an input cannot stay float
        before: tuple[str, ...] = ()
        for count in _IN_FLOAT:
            guilty = [
                name
                for error in ranked[:count]
                for name in (error.cause.layers if error.cause is not None else (error.layer, *error.makers))
            ]
            owners = (_owner(name, names) for name in guilty)
            left = tuple(dict.fromkeys(owner for owner in owners if owner is not None))
            if left != before:
                annotated = annotate(equalized.model, left_float=frozenset(left))
                candidate = self._annotated(FLOAT, f"{', '.join(left)} in float", annotated, whole.ranges)
                yield dataclasses.replace(self._corrected(candidate, equalized), left_float=left)
            before = left

    def _trained(self, equalized: Equalized) -> _Candidate:
        outcome = quantize_aware(equalized.model, self._settings, self._context)
        return _Candidate(
            TRAINED,
            TRAINED,
            outcome.model,
            outcome.conversion,
            outcome.conversion.calibration,
            changed=(*equalized.changed, *outcome.changed),
            left=outcome.skipped,
        )

    def _annotated(self, rung: str, words: str, annotated: Annotated, method: Calibration) -> _Candidate:
        return _Candidate(
            rung,
            words,
            set_ranges(annotated.model, self._calibration.inputs, method),
            annotated.conversion(self._context.conversion),
            method,
            left=annotated.left,
        )

    def _judged(self, candidate: _Candidate) -> _Attempt | None:
        """Make a candidate's file and judge it on validation data; None where there can be no such file."""
        val = self._context.data.val
        path = self._folder / f"{len(self._attempts) + len(self._failures)}.tflite"
        with self._context.progress.task(f"Ladder: {candidate.words}"):
            try:
                file = convert_model(
                    candidate.model, path, candidate.options, self._context.data.train.inputs, self._pool
                )
                scores = self._scores(to_real(file, run_file(file, val.inputs, self._pool)), val)
            except (ConversionError, WorkerDied) as error:
                self._failures.append((candidate.words, error))
                return None
        lost = self._reference - scores
        margin = _CONFIDENCE * float(lost.std()) / math.sqrt(len(lost))
        attempt = _Attempt(candidate, file, float(lost.mean()), margin)
        self._context.progress.note(f"Ladder: {attempt}")
        return attempt

    def _scores(self, outputs: Sequence[NDArray[Any]], split: Split) -> NDArray[np.float64]:
        """One score per sample, higher is better."""
        return self._sign * self._metric.scores(outputs, split.targets)

    def _best(self) -> _Attempt:
        within = [attempt for attempt in self._attempts if attempt.drop <= self._max_drop]
        return within[0] if within else min(self._attempts, key=lambda attempt: attempt.drop)

    def _notes(self, best: _Attempt) -> Iterator[str]:
        tolerance, metric = self._max_drop, self._metric.name
        if best.drop > tolerance:
            yield (
                f"NOT WITHIN TOLERANCE: no rung loses at most {tolerance:g} of {metric} on validation data; "
                f"{best.candidate.words} loses least, {best.drop:.4f}"
            )
        else:
            yield f"{best.candidate.words}: the first rung that loses at most {tolerance:g} of {metric}"
        if self._mismatch is not None:
            preparation = self._mismatch.preparation
            sure = "are prepared otherwise than the model's" if preparation else "may be prepared otherwise"
            done = f"; calibrated on them {preparation.words}" if preparation else ""
            yield f"calibration data {sure}: {self._mismatch.cause.what}{done}"
        if best.margin > tolerance:
            yield f"{len(self._context.data.val):,} validation samples tell a loss to ± {best.margin:.4f} only"
        yield from (str(attempt) for attempt in self._attempts)
        yield from (f"{words}: {error}" for words, error in self._failures)
        if best.candidate.left_float:
            yield self._border_cost(best)

    def _border_cost(self, best: _Attempt) -> str:
        """What the layers in float cost on the device, against the same model wholly in int8."""
        whole = [attempt for attempt in self._attempts if attempt.candidate.rung == EQUALIZED]
        judge = self._context.judge
        if judge is None or not whole:
            return "what layers in float cost in latency: not measured" + ("" if judge else ", no device was named")
        try:
            first, second = (require_samples(run, judge.device) for run in judge.measure([whole[0].file, best.file]))
            ratio = compare_runs(first, second, floor=None).ratio
        except DeviceError as error:
            return f"what layers in float cost in latency: not measured, {error}"
        return (
            f"with layers in float {ratio.value:.2f} of the latency of all in int8 on {judge.device} (95 % interval "
            f"{ratio.low:.2f} to {ratio.high:.2f})"
        )


def _owner(name: str, names: Sequence[str]) -> str | None:
    """The layer that one of the annotated model is a part of (``conv`` of ``conv_sigmoid``), if there is one."""
    return name if name in names else max((one for one in names if name.startswith(f"{one}_")), key=len, default=None)
