"""The networks of planted_answers.py: small, of many kinds, trained on the strokes task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path
from tasks import load_task
from tasks.strokes import CLASSES, SIDE
from tasks.zoo import ZOO, Subject

from edgepress.models import import_keras, load_model
from edgepress.training.seeds import seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

EPOCHS = 4
FOLDER = user_cache_path("edgepress") / "benchmarks" / "planted"


@dataclass(frozen=True)
class Loaded:
    """A trained network, inputs to calibrate it with, and inputs from which goldens are taken."""

    model: Any
    calibration: tuple[Array, ...]
    inputs: tuple[Array, ...]


def _honest_of_the_zoo(subject: Subject) -> Loaded:
    task = load_task()
    return Loaded(load_model(subject.base(task.training)), (task.train.inputs[0][:200],), task.val.inputs)


def _own(build: Callable[[], Any], prepare: Callable[[Array], Array]) -> Loaded:
    task = load_task()
    path = FOLDER / f"{build.__name__}-{EPOCHS}.keras"
    inputs = prepare(task.train.inputs[0])
    if not path.exists():
        _train(build, inputs, task.train.targets[0], path)
    return Loaded(load_model(path), (inputs[:200],), (prepare(task.val.inputs[0]),))


def _train(build: Callable[[], Any], inputs: Array, labels: Array, path: Path) -> None:
    keras = import_keras()
    with seeded(0):
        model = build()
        classes = keras.losses.SparseCategoricalCrossentropy(from_logits=model.name == "logits")
        losses = [classes, "mse"][: len(model.outputs)]
        targets = [labels, inputs.mean(axis=tuple(range(1, inputs.ndim)))[:, None]][: len(losses)]
        model.compile(keras.optimizers.Adam(3e-3), losses if len(losses) > 1 else losses[0])
        model.fit(inputs, targets if len(targets) > 1 else targets[0], batch_size=64, epochs=EPOCHS, verbose=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)


def _colored(pictures: Array) -> Array:
    """Three unlike channels: the picture, its negative with another contrast, and one that fades to the right."""
    fade = np.linspace(1, 0.2, SIDE, dtype=np.float32)[:, None]
    return np.concatenate([pictures, 0.8 - 0.5 * pictures, pictures * fade], axis=-1)


def _layers() -> Any:
    return import_keras().layers


def _classes(x: Any) -> Any:
    return _layers().Dense(CLASSES, activation="softmax", name="classes")(x)


def rows() -> Any:
    """A picture as a series of its rows: Conv1D."""
    keras, layers = import_keras(), _layers()
    series = keras.Input((SIDE, SIDE), name="series")
    x = layers.Conv1D(32, 5, activation="relu")(series)
    x = layers.Conv1D(32, 5, strides=2, activation="relu")(x)
    return keras.Model(series, _classes(layers.Flatten()(x)), name="rows")


def logits() -> Any:
    """Dense layers only, and logits: no softmax."""
    keras, layers = import_keras(), _layers()
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Dense(96, activation="relu")(layers.Flatten()(layers.AveragePooling2D(2)(image)))
    x = layers.Dense(CLASSES, name="logits")(layers.Dense(48, activation="relu")(x))
    return keras.Model(image, x, name="logits")


def two_heads() -> Any:
    """A class, and how much ink there is: an output near zero."""
    keras, layers = import_keras(), _layers()
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(16, 5, strides=3, activation="relu")(image)
    x = layers.Dense(40, activation="relu")(layers.Flatten()(x))
    return keras.Model(image, [_classes(x), layers.Dense(1, name="ink")(x)], name="two_heads")


def colored() -> Any:
    """A picture of three channels, and two branches."""
    keras, layers = import_keras(), _layers()
    image = keras.Input((SIDE, SIDE, 3), name="image")
    a = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    b = layers.Conv2D(8, 5, strides=2, padding="same", activation="tanh")(image)
    x = layers.Conv2D(24, 3, strides=2, activation="relu")(layers.Concatenate()([a, b]))
    return keras.Model(image, _classes(layers.Flatten()(x)), name="colored")


NETS: dict[str, Callable[[], Loaded]] = {
    **{subject.name: partial(_honest_of_the_zoo, subject) for subject in ZOO if subject.planted is None},
    "rows": partial(_own, rows, lambda pictures: pictures[..., 0]),
    "logits": partial(_own, logits, lambda pictures: pictures),
    "two heads": partial(_own, two_heads, lambda pictures: pictures),
    "colored": partial(_own, colored, _colored),
}
"""Loads each; what is not in the cache is trained first."""
