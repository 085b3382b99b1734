"""The step ``quantize``: ranges put into the model (``ptq``), and weights trained to be rounded (``qat``).

Training goes on with folded BatchNormalization, on weights and activations rounded as the int8 file will round them
(Jacob et al. 2018). It begins with calibrated ranges, which then follow the batches by a moving average and stand still
for the last fifth of the epochs. Zeros of pruned kernels are zeros in int8 too, and stay.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from edgepress.compression.quantization.annotate import Annotated, annotate, fake_quants
from edgepress.compression.quantization.ranges import set_ranges
from edgepress.compression.recipe import QuantizeStep
from edgepress.compression.recovery import recover
from edgepress.compression.steps import Change, StepContext, StepOutcome

_FOLLOWING = 0.8  # share of the epochs in which ranges follow the batches


def set_ranges_in_model(model: Any, settings: QuantizeStep, context: StepContext) -> StepOutcome:
    """Put ranges into the model, taken from training data by the rule that the conversion names; nothing is trained."""
    del settings
    annotated, ranged = _ranged(model, context)
    return _outcome(ranged, annotated, context)


def quantize_aware(model: Any, settings: QuantizeStep, context: StepContext) -> StepOutcome:
    """Train a model for int8."""
    annotated, ranged = _ranged(model, context)
    assert settings.epochs is not None  # filled in by the recipe for this method
    tuned = recover(
        ranged,
        settings,
        context,
        "Training for int8",
        callbacks=[FreezeRanges(math.ceil(_FOLLOWING * settings.epochs))],
    )
    outcome = _outcome(tuned.model, annotated, context)
    return dataclasses.replace(outcome, notes=(tuned.summary,))


class FreezeRanges(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets the ranges of an annotated model stand still from an epoch (counted from 0) on."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        if epoch == self._epoch:
            for layer in fake_quants(self.model).values():
                layer.follows = False
            self.model.make_train_function(force=True)  # it was traced with ranges that move


def _ranged(model: Any, context: StepContext) -> tuple[Annotated, Any]:
    data, options = context.data.train, context.conversion
    annotated = annotate(model)
    with context.progress.task("Taking ranges from training data"):
        samples = data.sample(options.calibration_samples, context.seed)
        return annotated, set_ranges(annotated.model, samples.inputs, options.calibration)


def _outcome(model: Any, annotated: Annotated, context: StepContext) -> StepOutcome:
    ranges = fake_quants(model)
    prescribed = sum(layer.bounds is not None for layer in ranges.values())
    return StepOutcome(
        model,
        annotated.conversion(context.conversion),
        changed=(Change("model", f"{len(ranges)} ranges, {prescribed} of them prescribed by TFLite"),),
        skipped=annotated.left,
    )
