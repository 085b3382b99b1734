"""What a model is trained for and judged by: the compiled loss and metric, or a guess where only one is sensible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgepress.data import Dataset
from edgepress.errors import MetricError
from edgepress.training.metrics import METRICS, metric_named
from edgepress.training.settings import Training, identity_of

OutputKind = Literal["probabilities", "logits", "sigmoid", "binary logits", "values"]
"""What numbers an output holds: softmax, scores before softmax, sigmoid, scores before sigmoid, or plain values."""

_ACCURACY = ("accuracy", "acc", "Accuracy")  # to Keras: whichever fits the output
_KERAS_METRICS = {
    "SparseCategoricalAccuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "CategoricalAccuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "BinaryAccuracy": "binary_accuracy",
    "binary_accuracy": "binary_accuracy",
    "MeanSquaredError": "mse",
    "mean_squared_error": "mse",
    "mse": "mse",
    "MSE": "mse",
    "MeanAbsoluteError": "mae",
    "mean_absolute_error": "mae",
    "mae": "mae",
    "MAE": "mae",
}
_METRIC_OF_KIND: dict[OutputKind, str] = {
    "probabilities": "accuracy",
    "logits": "accuracy",
    "sigmoid": "binary_accuracy",
    "binary logits": "binary_accuracy_logits",
    "values": "mse",
}
_VALUE_LOSSES = ("error", "mse", "mae", "mape", "msle", "huber", "logcosh", "cosine", "poisson")
_DEFAULT_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Objective:
    """How every model of a run is trained and judged.

    Attributes:
        loss: one Keras loss (name, object or function) per model output, in model order.
        loss_weights: of each output's loss in their sum; empty: all 1.
        metric: a name that :func:`edgepress.training.metrics.metric_named` takes.
        learning_rate: of fine-tuning, where a step says nothing else; decays to 0 over a step's epochs.
        batch_size: of fine-tuning.
        output_kinds: what each output holds.
        optimizer: Keras' configuration of the compiled optimizer (its learning rate is not used); empty: Adam.
        augmentation: changes a batch of training inputs (a tensor; a tuple of several inputs), each time anew: a Keras
            layer or a function of TensorFlow's.
        mixed_precision: train in half precision, with weights in float32.
        logs: a folder for the logs of trainings; None: there are none.
    """

    loss: tuple[Any, ...]
    metric: str
    learning_rate: float = _DEFAULT_LEARNING_RATE
    batch_size: int = 32
    output_kinds: tuple[OutputKind, ...] = ("probabilities",)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    loss_weights: tuple[float, ...] = ()
    augmentation: Callable[[Any], Any] | None = None
    mixed_precision: bool = False
    logs: Path | None = None

    @property
    def batches_per_step(self) -> int:
        """Of how many batches the optimizer gathers gradients before it changes weights."""
        return (self.optimizer.get("config") or {}).get("gradient_accumulation_steps") or 1

    def as_dict(self) -> dict[str, Any]:
        """JSON values: what reports say and checkpoints are keyed by."""
        return {
            "loss": [_name_of(loss) for loss in self.loss],
            "loss_weights": list(self.loss_weights),
            "metric": self.metric,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "output_kinds": list(self.output_kinds),
            "optimizer": str(self.optimizer.get("class_name", "Adam")),
            "augmentation": None if self.augmentation is None else identity_of(self.augmentation),
            "mixed_precision": self.mixed_precision,
        }


def objective_of(
    model: Any, dataset: Dataset, metric: str | None = None, training: Training | None = None
) -> Objective:
    """Return the compiled objective of a model; for one saved uncompiled, the only sensible one.

    Args:
        training: what goes before it.
        metric: overrides the compiled one; of an uncompiled model it tells the loss, too, where outputs do not.

    Raises:
        MetricError: no such metric, or none can be told from the model: the message names ``--metric``.
    """
    training = training or Training()
    if metric is not None:
        metric_named(metric)
    activations = last_activations(model)
    targets = dataset.train.targets
    compiled = model.get_compile_config() if model.compiled and model.loss is not None else {}
    weights: tuple[float, ...] = ()
    if compiled or training.loss is not None:
        names = _output_names(model)
        losses = _per_output(model.loss if training.loss is None else training.loss, names)
        weights = _weights_per_output(compiled.get("loss_weights"), names)
        kinds = tuple(_kind_by_loss(loss, activation) for loss, activation in zip(losses, activations, strict=True))
        chosen = metric or _compiled_metric(compiled, kinds)
    else:
        guesses = [_guess(t, y, a, metric) for t, y, a in zip(model.outputs, targets, activations, strict=True)]
        losses = tuple(loss for loss, _ in guesses)
        kinds = tuple(kind for _, kind in guesses)
        chosen = metric or _common_metric(kinds)
    optimizer = compiled.get("optimizer")
    if training.optimizer is not None:
        import keras

        optimizer = keras.optimizers.serialize(training.optimizer)
    optimizer = dict(optimizer) if isinstance(optimizer, Mapping) else {}
    optimizer = dict(optimizer.get("config") or {}).get("inner_optimizer", optimizer)  # of one that scales losses
    return Objective(
        loss=losses,
        metric=chosen,
        learning_rate=_learning_rate(optimizer),
        batch_size=training.batch_size or _batch_size(len(dataset.train)),
        output_kinds=kinds,
        optimizer=optimizer,
        loss_weights=weights,
        augmentation=training.augmentation,
        mixed_precision=training.mixed_precision,
        logs=None if training.logs is None else Path(training.logs),
    )


def _output_names(model: Any) -> list[str]:
    """What Keras calls the outputs in dicts of losses: the keys of a model that answers with a dict, else layers."""
    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, Mapping) and len(structure) == len(model.outputs):
        return sorted(structure)
    return [tensor._keras_history.operation.name for tensor in model.outputs]


def last_activations(model: Any) -> list[str]:
    """Return the name of the activation that makes each output: ``softmax``, ``sigmoid``, ``linear`` or another.

    What only moves numbers behind it is passed over. Where numbers of several activations are put together, all are
    named.
    """
    from edgepress.compression.graph.reader import read

    graph = read(model)
    return [" and ".join(sorted({_activation(node.operation) for node in graph.makers(ref)})) for ref in graph.outputs]


def _activation(operation: Any) -> str:
    kind = type(operation).__name__
    if kind in ("Softmax", "Sigmoid"):  # the layer, or the operation
        return kind.lower()
    return str(getattr(getattr(operation, "activation", None), "__name__", "linear"))


def _name_of(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    if isinstance(loss, Mapping):
        return str(loss.get("class_name", loss))
    logits = ", from_logits" if _from_logits(loss) else ""
    return f"{getattr(loss, '__name__', type(loss).__name__)}{logits}"


def _from_logits(loss: Any) -> bool:
    """Whether a Keras loss takes scores before softmax or sigmoid."""
    arguments = getattr(loss, "_fn_kwargs", None) or {}
    return bool(getattr(loss, "from_logits", arguments.get("from_logits", False)))


def _per_output(loss: Any, names: list[str]) -> tuple[Any, ...]:
    """One loss per output from what Keras takes: one for all, a list, or a dict by output name."""
    if isinstance(loss, Mapping):
        missing = [name for name in names if loss.get(name) is None]
        if missing:
            raise MetricError(f"the model is compiled without a loss for its outputs {missing}: compile it with one")
        return tuple(loss[name] for name in names)
    if isinstance(loss, list | tuple):
        if len(loss) != len(names):
            raise MetricError(f"the model has {len(names)} outputs but is compiled with {len(loss)} losses")
        return tuple(loss)
    return (loss,) * len(names)


def _weights_per_output(weights: Any, names: list[str]) -> tuple[float, ...]:
    """The weight of each output's loss from what Keras takes: nothing, a list, or a dict by output name."""
    if isinstance(weights, Mapping):
        return tuple(float(weights.get(name, 1.0)) for name in names)
    return tuple(float(weight) for weight in weights) if isinstance(weights, list | tuple) else ()


def _kind_by_loss(loss: Any, activation: str) -> OutputKind:
    name = _name_of(loss).lower().replace("_", "")
    if "binarycrossentropy" in name or "binaryfocal" in name:
        return "binary logits" if _from_logits(loss) or activation == "linear" else "sigmoid"
    if "crossentropy" in name:
        return "logits" if _from_logits(loss) else "probabilities"
    if not any(word in name for word in _VALUE_LOSSES):  # a loss of the user's own: the activation tells
        if activation == "softmax":
            return "probabilities"
        if activation == "sigmoid":
            return "sigmoid"
    return "values"


def _guess(tensor: Any, target: Any, activation: str, metric: str | None) -> tuple[Any, OutputKind]:
    """Loss and kind of an output of an uncompiled model, where only one is sensible."""
    target = np.asarray(target)
    same_shape = target.shape[1:] == tuple(tensor.shape[1:])
    classes = int(tensor.shape[-1])
    integers = np.issubdtype(target.dtype, np.integer) or target.dtype == bool
    if activation == "softmax":
        one_hot = same_shape and classes > 1
        return ("categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"), "probabilities"
    if activation == "sigmoid" and (same_shape or classes == 1):
        return "binary_crossentropy", "sigmoid"
    word = (metric or "").partition("@")[0]
    if activation == "linear":
        if classes > 1 and integers and not same_shape:
            word = "accuracy"
        elif same_shape and not integers and not _is_one_hot(target) and word != "mae":
            word = "mse"
    if word in ("mse", "mae"):
        return word, "values"
    if activation != "sigmoid":  # scores, by the metric
        import keras

        if word in ("accuracy", "top_5_accuracy") and classes > 1:
            losses = keras.losses
            loss = losses.CategoricalCrossentropy if same_shape else losses.SparseCategoricalCrossentropy
            return loss(from_logits=True), "logits"
        if word == "binary_accuracy_logits":
            return keras.losses.BinaryCrossentropy(from_logits=True), "binary logits"
    asked = f"name a metric with --metric ({', '.join(METRICS)}) or "
    raise MetricError(
        f"the model was saved uncompiled, and its output {tensor.name!r} (activation {activation}, shape "
        f"{tuple(tensor.shape)}, targets {target.dtype} {target.shape}) does not tell how it is to be judged"
        f"{f', nor does the metric {metric}: ' if metric else f': {asked}'}compile the model before saving it"
    )


def _is_one_hot(target: Any) -> bool:
    if target.ndim < 2 or target.shape[-1] < 2:
        return False
    return bool(np.isin(target, (0, 1)).all() and (target.sum(axis=-1) == 1).all())


def _compiled_metric(compiled: Mapping[str, Any], kinds: tuple[OutputKind, ...]) -> str:
    names = list(_metric_names(compiled.get("metrics"))) + list(_metric_names(compiled.get("weighted_metrics")))
    for name in names:
        if name in _ACCURACY:
            by_kind = _common_metric(kinds)
            return by_kind if "accuracy" in by_kind else "accuracy"
        if name in _KERAS_METRICS:
            known = _KERAS_METRICS[name]
            return f"{known}_logits" if known == "binary_accuracy" and set(kinds) == {"binary logits"} else known
    if names:
        raise MetricError(
            f"the model is compiled with the metrics {', '.join(names)}, none of which edgepress can compute on a "
            f"board: name one with --metric ({', '.join(METRICS)})"
        )
    return _common_metric(kinds)


def _metric_names(configured: Any) -> Iterable[str]:
    """Names in what ``get_compile_config()`` says of metrics: strings, configurations, lists and dicts of them."""
    if configured is None:
        return
    if isinstance(configured, str):
        yield configured
    elif isinstance(configured, Mapping):
        if "class_name" in configured:
            name = configured["class_name"]
            yield str(configured["config"]) if name == "function" else str(name)
        else:
            for value in configured.values():
                yield from _metric_names(value)
    elif isinstance(configured, list | tuple):
        for value in configured:
            yield from _metric_names(value)


def _common_metric(kinds: tuple[OutputKind, ...]) -> str:
    names = {_METRIC_OF_KIND[kind] for kind in kinds}
    if len(names) != 1:
        raise MetricError(
            f"the model's outputs are of different kinds ({', '.join(kinds)}): name the metric that fits all of them "
            f"with --metric ({', '.join(METRICS)}), or one for a single output, such as accuracy@0"
        )
    return names.pop()


def _learning_rate(optimizer: Mapping[str, Any]) -> float:
    """The compiled learning rate; of a schedule, where it starts behind its warm-up (at its end it trains nothing)."""
    rate = dict(optimizer.get("config") or {}).get("learning_rate", _DEFAULT_LEARNING_RATE)
    if isinstance(rate, Mapping):
        schedule = dict(rate.get("config") or {})
        starts = (schedule.get("warmup_target"), schedule.get("initial_learning_rate"), *schedule.get("values", ()))
        rate = next((start for start in starts if start), _DEFAULT_LEARNING_RATE)
    return float(rate)


def _batch_size(count: int) -> int:
    """32 for small data, so that an epoch has steps enough; 128 from 10,000 samples on."""
    return 32 if count < 10_000 else 128
