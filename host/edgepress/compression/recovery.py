"""What follows whenever a step made a model smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepress.compression.recipe import FactorizeStep, PruneStep, QuantizeStep, StepSettings
from edgepress.compression.steps import StepContext
from edgepress.training.batchnorm import reestimate_batchnorm
from edgepress.training.fit import FineTuned, fine_tune
from edgepress.training.objective import Objective

INT8_LEARNING_RATE_SHARE = 0.1  # of the one that the model was trained with: weights move by steps of int8, not farther


def recover(
    model: Any,
    settings: PruneStep | FactorizeStep | QuantizeStep,
    context: StepContext,
    description: str,
    *,
    epochs: int | None = None,
    callbacks: Sequence[Any] = (),
    first_epoch: int = 0,
) -> FineTuned:
    """Fine-tune a model as a step's settings say, with the teacher of a distill step that follows.

    Without epochs the BatchNorm statistics are re-estimated still.

    Args:
        epochs: instead of the step's.
        callbacks, first_epoch: those of :func:`edgepress.training.fit.fine_tune`.
    """
    epochs = settings.epochs if epochs is None else epochs
    if not epochs:
        return FineTuned(reestimate_batchnorm(model, context.data.train, context.seed), (), 0)
    return fine_tune(
        model,
        context.data,
        context.objective,
        epochs=epochs,
        learning_rate=learning_rate_of(settings, context.objective),
        patience=settings.patience,
        guidance=context.guidance() if context.guidance is not None else None,
        callbacks=callbacks,
        first_epoch=first_epoch,
        seed=context.seed,
        progress=context.progress,
        description=description,
    )


def learning_rate_of(settings: StepSettings, objective: Objective) -> float:
    """The learning rate that a step's training begins with: its own, else the compiled one, or a share of that."""
    share = INT8_LEARNING_RATE_SHARE if isinstance(settings, QuantizeStep) else 1.0
    return settings.learning_rate or share * objective.learning_rate
