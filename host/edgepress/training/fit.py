"""Fine-tuning, shared by all steps: seeded, with the best epoch kept, and never changing the model it was given."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from edgepress.compression.graph.rebuild import copy_of
from edgepress.data import Split, TrainingData
from edgepress.progress import Progress, Silent, Task
from edgepress.training.batchnorm import StatisticsEstimator
from edgepress.training.estimate import duration_in_words, seconds_per_batch, worth_estimating
from edgepress.training.evaluate import alone, flat, loss_of
from edgepress.training.guidance import Guidance, Lessons, with_lessons
from edgepress.training.logs import logging_callbacks
from edgepress.training.objective import Objective
from edgepress.training.precision import mixed_precision
from edgepress.training.seeds import seeded
from edgepress.training.zeros import keep_zeros


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss over the training batches, and the loss on the validation split after it."""

    train_loss: float
    val_loss: float


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning gave.

    Attributes:
        history: the epochs that ran.
        best_epoch: the one whose weights the model has; 0: those it came with, since no epoch was better.
        guided: whether a teacher helped.
    """

    model: Any
    history: tuple[Epoch, ...]
    best_epoch: int
    guided: bool = False

    @property
    def summary(self) -> str:
        """One sentence for a report."""
        if not self.history:
            return "not fine-tuned"
        what = f"fine-tuned for {len(self.history)} epochs{' with a teacher' if self.guided else ''}"
        if not all(math.isfinite(epoch.train_loss) for epoch in self.history):
            return (
                f"{what}, weights of epoch {self.best_epoch}: the loss became NaN or infinite, a smaller learning_rate "
                "may help"
            )
        if self.best_epoch == 0:
            return f"{what}, none of which was better on the validation data"
        return f"{what}, weights of epoch {self.best_epoch}"


def fine_tune(
    model: Any,
    data: TrainingData,
    objective: Objective,
    *,
    epochs: int,
    learning_rate: float | None = None,
    patience: int | None = None,
    guidance: Guidance | None = None,
    callbacks: Sequence[Any] = (),
    first_epoch: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    description: str = "Fine-tuning",
) -> FineTuned:
    """Train a copy of ``model`` and return it with the weights of its best epoch on the validation split.

    The learning rate decays to 0 along a cosine (Loshchilov and Hutter 2017). BatchNorm statistics are re-estimated
    before each validation (:mod:`edgepress.training.batchnorm`). Zeros of pruned kernels stay zeros
    (:mod:`edgepress.training.zeros`). How long it will take is said before it starts, where it is long.

    Args:
        learning_rate: at the start; None: the objective's.
        patience: stop after so many epochs without a better validation loss; None: never before the end.
        callbacks: Keras callbacks that change the model as it trains.
        first_epoch: the first one whose weights may be returned, where those of epochs before it are of a model that is
            not yet what it shall be. Without any such epoch the weights are those that it came with.
    """
    if epochs == 0:
        return FineTuned(model, (), 0)
    shown = progress or Silent()
    with seeded(seed):
        copy = copy_of(model)
        keep_zeros(copy)
        judged = flat(copy)
        trained, lessons = (judged, None) if guidance is None else with_lessons(copy, guidance)
        steps = math.ceil(len(data.train) / objective.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(learning_rate or objective.learning_rate, epochs * steps)
        samples = _samples(data.train, lessons)
        with (
            mixed_precision(copy, objective.mixed_precision) as scaled,
            shown.task(description, total=epochs * steps) as task,
        ):
            _compile(trained, objective, _optimizer(objective, rate, scaled), guidance, lessons)
            started = time.monotonic()
            statistics = StatisticsEstimator(copy, data.train, seed)
            run = _Run(judged, trained, data.val, objective, statistics, task, epochs, steps, patience, first_epoch)
            if worth_estimating(epochs * steps):
                validation_s = time.monotonic() - started
                batch_s = seconds_per_batch(trained, _batches(samples, objective, seed))
                duration = duration_in_words(epochs * (steps * batch_s + validation_s))
                shown.note(f"{description}: about {duration} for {epochs} epochs of {steps} batches")
            trained.fit(
                _batches(samples.shuffle(len(data.train), seed=seed), objective, seed),
                epochs=epochs,
                shuffle=False,
                verbose=0,
                callbacks=[*callbacks, run.callback(), *logging_callbacks(objective.logs, description)],
            )
            run.restore_best()
    return FineTuned(copy, tuple(run.history), run.best_epoch, guidance is not None)


class _Run:
    """What happens around the epochs of one training: validation, the best weights, early stopping, progress."""

    def __init__(
        self,
        judged: Any,
        trained: Any,
        val: Split,
        objective: Objective,
        statistics: StatisticsEstimator,
        task: Task,
        epochs: int,
        steps: int,
        patience: int | None,
        first_epoch: int,
    ) -> None:
        self._judged = judged
        self._trained = trained
        self._val = val
        self._objective = objective
        self._statistics = statistics
        self._task = task
        self._epochs = epochs
        self._steps = steps
        self._patience = patience
        self._first_epoch = first_epoch
        self._epoch = 0
        self.history: list[Epoch] = []
        self.best_epoch = 0
        loss = self._validate()
        self._best_loss = math.inf if first_epoch else loss
        self._best_weights = judged.get_weights()

    def callback(self) -> Any:
        return keras.callbacks.LambdaCallback(on_train_batch_end=self._on_batch, on_epoch_end=self._on_epoch)

    def restore_best(self) -> None:
        self._judged.set_weights(self._best_weights)

    def _on_batch(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        del logs
        self._task.update(
            self._epoch * self._steps + batch + 1,
            self._epochs * self._steps,
            f"epoch {self._epoch + 1} of {self._epochs}",
        )

    def _on_epoch(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        loss = self._validate()
        self._epoch = epoch + 1
        self.history.append(Epoch(float((logs or {}).get("loss", math.nan)), loss))
        if logs is not None:
            logs["val_loss"] = loss  # for the callbacks that come after this one
        if self._epoch < self._first_epoch:
            return
        if loss < self._best_loss:
            self._best_loss, self.best_epoch = loss, self._epoch
            self._best_weights = self._judged.get_weights()
        elif self._patience is not None and self._epoch - max(self.best_epoch, self._first_epoch) >= self._patience:
            self._trained.stop_training = True

    def _validate(self) -> float:
        """The objective's loss on the validation split."""
        self._statistics.update()
        return loss_of(self._judged, self._val, self._objective)


def _optimizer(objective: Objective, rate: Any, scaled: bool) -> Any:
    """The objective's optimizer at another learning rate; with its losses scaled, for gradients in float16."""
    if objective.optimizer:
        settings = {**objective.optimizer["config"], "learning_rate": keras.optimizers.schedules.serialize(rate)}
        optimizer = keras.optimizers.deserialize({**objective.optimizer, "config": settings})
    else:
        optimizer = keras.optimizers.Adam(rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer


def _compile(
    model: Any, objective: Objective, optimizer: Any, guidance: Guidance | None, lessons: Lessons | None
) -> None:
    losses = list(objective.loss)
    weights = list(objective.loss_weights) or [1.0] * len(losses)
    if guidance is not None and lessons is not None:
        learners = 1 + len(lessons.peers)
        weights = [(1 - guidance.weight) * weight for weight in weights] * learners
        losses *= learners
    # Keras would have XLA compile the step: on a CPU that makes a MobileNet's seven times slower (depthwise gradients).
    model.compile(optimizer=optimizer, loss=losses, loss_weights=weights, jit_compile=False)


def _samples(train: Split, lessons: Lessons | None) -> Any:
    """A ``tf.data`` set of inputs and what is wanted for them, sample by sample, in order."""
    import tensorflow as tf

    given, wanted = train.inputs, train.targets
    if lessons is not None:
        given = (*given, *lessons.arrays)
        wanted = wanted * (1 + len(lessons.peers))
    return tf.data.Dataset.from_tensor_slices((alone(given), alone(wanted)))


def _batches(samples: Any, objective: Objective, seed: int) -> Any:
    """Samples in batches, augmented if that is wanted: Keras layers as in training, and from this seed on."""
    batches = samples.batch(objective.batch_size)
    if (augmentation := objective.augmentation) is not None:
        for number, variable in enumerate(getattr(augmentation, "variables", ())):
            if variable.name == "seed_generator_state":
                variable.assign([seed + number, 0])
        takes_training = "training" in inspect.signature(getattr(augmentation, "call", augmentation)).parameters
        settings = {"training": True} if takes_training else {}
        batches = batches.map(lambda given, wanted: (augmentation(given, **settings), wanted))
    return batches.prefetch(2)
