"""Metrics in plain numpy, so that a board's outputs are judged by the same code as Keras'.

Every metric here is a mean of one score per sample: that makes an interval possible without knowing anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.errors import MetricError
from edgepress.user_code import import_user_module

Array = NDArray[Any]
Scores = NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True)
class Metric:
    """How good outputs are.

    Attributes:
        name: what ``--metric`` and the table call it.
        higher_is_better: whether a larger value is a better model.
        score: output ``(n, ...)`` float and target ``(n, ...)`` of one model output -> ``(n,)``, one score per sample.
        output: number of the model output that alone is judged; None: all of them.
    """

    name: str
    higher_is_better: bool
    score: Callable[[Array, Array], Scores]
    output: int | None = None

    def scores(self, outputs: Sequence[Array], targets: Sequence[Array]) -> Scores:
        """One score per sample, ``(n,)``; with several outputs, their mean.

        Raises:
            MetricError: outputs and targets do not belong together, or the metric does not go with them.
        """
        if len(outputs) != len(targets):
            raise MetricError(f"{self.name}: {len(outputs)} outputs but {len(targets)} targets")
        if self.output is not None:
            if self.output >= len(outputs):
                raise MetricError(f"{self.name}: the model has {len(outputs)} outputs; they are numbered from 0")
            outputs, targets = [outputs[self.output]], [targets[self.output]]
        for output, target in zip(outputs, targets, strict=True):
            if len(output) != len(target):
                raise MetricError(f"{self.name}: {len(output)} output samples but {len(target)} targets")
        by_output = [
            np.asarray(self.score(np.asarray(output, np.float64), np.asarray(target)), np.float64)
            for output, target in zip(outputs, targets, strict=True)
        ]
        for scores, output in zip(by_output, outputs, strict=True):
            if scores.shape != (len(output),):
                raise MetricError(
                    f"{self.name} gave scores of shape {scores.shape} for {len(output)} samples; one for each is wanted"
                )
        return np.asarray(np.mean(by_output, axis=0), np.float64)

    def compute(self, outputs: Sequence[Array], targets: Sequence[Array]) -> float:
        """Return the metric over all samples. Accuracies are fractions 0..1.

        Args:
            outputs: one float array per model output, ``(n, ...)``, model order.
            targets: one array per model output, as in ``Split.targets``.
        """
        return float(np.mean(self.scores(outputs, targets)))

    def interval(
        self, outputs: Sequence[Array], targets: Sequence[Array], confidence: float = 0.95, seed: int = 0
    ) -> tuple[float, float]:
        """Return the bounds of the metric's confidence interval.

        Scores that are all 0 or 1 (accuracy): Wilson's interval (Wilson 1927). Others: percentiles of a bootstrap of
        the samples (Efron 1979), seeded.
        """
        scores = self.scores(outputs, targets)
        if np.all((scores == 0) | (scores == 1)):
            return wilson(int(scores.sum()), len(scores), confidence)
        generator = np.random.default_rng(seed)
        means = [float(np.mean(generator.choice(scores, len(scores)))) for _ in range(_RESAMPLES)]
        tail = 50 * (1 - confidence)
        low, high = np.percentile(means, [tail, 100 - tail])
        return float(low), float(high)


def wilson(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927): honest at 0, at 1 and for few samples."""
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low = (centre - spread) / scale if successes else 0.0  # exactly, where rounding would leave 1e-17
    high = (centre + spread) / scale if successes < count else 1.0
    return low, high


def metric_named(name: str) -> Metric:
    """Return a metric by name: one of :data:`METRICS`, or ``module:function``; of one output with ``@`` and its number.

    A function of the user's own takes the output ``(n, ...)`` float and the target ``(n, ...)`` of one model output,
    and returns one score per sample, ``(n,)``. Less is better where it has an attribute ``higher_is_better`` that is
    false.

    Raises:
        MetricError: there is none of that name; lists those that exist.
    """
    word, at, number = name.partition("@")
    if at:
        if not number.isdecimal():
            raise MetricError(f"the metric {name!r}: after @ comes the number of a model output, from 0")
        return replace(metric_named(word), name=name, output=int(number))
    if name in METRICS:
        return METRICS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise MetricError(f"there is no metric {name!r}; there are: {', '.join(METRICS)}, or module:function")
    function = getattr(import_user_module(module_name, MetricError, f"named by the metric {name}"), function_name, None)
    if not callable(function):
        raise MetricError(f"module {module_name!r} has no function {function_name!r}")
    return Metric(name, bool(getattr(function, "higher_is_better", True)), function)


def _labels(output: Array, target: Array, metric: str) -> NDArray[np.int64]:
    """Class numbers from integer or one-hot targets, in the shape of ``output`` without its last axis."""
    if output.shape[-1] < 2:
        raise MetricError(
            f"{metric} needs one output per class, but the output has the shape (n, {output.shape[-1]}): "
            "a single sigmoid output is judged by binary_accuracy"
        )
    if target.shape == output.shape:
        return np.asarray(np.argmax(target, axis=-1), np.int64)
    if target.shape == (*output.shape[:-1], 1):
        target = target[..., 0]
    if target.shape != output.shape[:-1]:
        raise MetricError(f"{metric}: targets of shape {target.shape} do not fit outputs of shape {output.shape}")
    labels = np.asarray(target, np.int64)
    low, high = labels.min(initial=0), labels.max(initial=0)
    classes = output.shape[-1]
    if low < 0 or high >= classes:
        raise MetricError(
            f"{metric}: labels from {low} to {high}, but {classes} classes: 0 to {classes - 1} are wanted"
        )
    return labels


def _per_sample(values: Array) -> Scores:
    return np.asarray(values.reshape(len(values), -1).mean(axis=1), np.float64)


def _accuracy(output: Array, target: Array) -> Scores:
    return _per_sample(np.argmax(output, axis=-1) == _labels(output, target, "accuracy"))


def _top_5(output: Array, target: Array) -> Scores:
    labels = _labels(output, target, "top_5_accuracy")
    best = np.argsort(-output, axis=-1, kind="stable")[..., :5]
    return _per_sample(np.any(best == labels[..., None], axis=-1))


def _binary(threshold: float, name: str) -> Callable[[Array, Array], Scores]:
    def score(output: Array, target: Array) -> Scores:
        target = _like(output, target, name)
        if target.min(initial=0) < 0 or target.max(initial=0) > 1:
            raise MetricError(f"{name}: targets go from {target.min()} to {target.max()}; 0 and 1 are wanted")
        return _per_sample((output > threshold) == (target > 0.5))

    return score


def _squared_error(output: Array, target: Array) -> Scores:
    return _per_sample(np.square(output - _like(output, target, "mse")))


def _absolute_error(output: Array, target: Array) -> Scores:
    return _per_sample(np.abs(output - _like(output, target, "mae")))


def _like(output: Array, target: Array, metric: str) -> Array:
    if output.size != target.size:
        raise MetricError(f"{metric}: targets of shape {target.shape} do not fit outputs of shape {output.shape}")
    return target.reshape(output.shape)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, _accuracy),
        Metric("top_5_accuracy", True, _top_5),
        Metric("binary_accuracy", True, _binary(0.5, "binary_accuracy")),
        Metric("binary_accuracy_logits", True, _binary(0.0, "binary_accuracy_logits")),
        Metric("mse", False, _squared_error),
        Metric("mae", False, _absolute_error),
    )
}
