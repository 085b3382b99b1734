"""Networks for the strokes: what people put on boards, at a size that trains in minutes on one core.

Each takes a width that scales all filters, in multiples of 4, as ``prune`` with ``round_to = 4`` does: a network of
width ``w`` has the channels that pruning by ``1 - w`` leaves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from edgepress.data import TrainingData
from edgepress.models import import_keras
from edgepress.training.objective import Objective
from tasks.strokes import CLASSES, SHA256, SIDE

EPOCHS = 12
OBJECTIVE = Objective(("sparse_categorical_crossentropy",), "accuracy", learning_rate=3e-3, batch_size=128)
"""What the networks are trained for and judged by."""

_MULTIPLE = 4


def residual(width: float = 1.0) -> Any:
    """A ResNet of three blocks (He et al. 2016): 16, 32 and 64 filters, 1.8 MMACs."""
    layers = import_keras().layers
    net = _Net(width)
    x = layers.MaxPooling2D(name="pool")(net.conv(net.inputs, 16, 3, "stem"))
    for number, (filters, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
        name = f"block{number}"
        shortcut = net.conv(x, filters, 1, f"{name}_shortcut", stride, active=False) if stride > 1 else x
        x = net.conv(x, filters, 3, f"{name}_a", stride)
        x = net.conv(x, filters, 3, f"{name}_b", active=False)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, x]))
    return net.classifier(x, "residual")


def mobilenet(width: float = 1.0) -> Any:
    """Inverted residuals with depthwise convolutions and ReLU6 (Sandler et al. 2018), 1.6 MMACs."""
    layers = import_keras().layers
    net = _Net(width, ceiling=6.0)
    x, before = layers.MaxPooling2D(name="pool")(net.conv(net.inputs, 16, 3, "stem")), 16
    # filters inside, filters, stride
    blocks = [(64, 16, 1), (64, 24, 2), (96, 24, 1), (96, 32, 1), (128, 48, 2), (192, 48, 1)]
    for number, (inside, filters, stride) in enumerate(blocks, start=1):
        name, shortcut = f"block{number}", x
        x = net.conv(x, inside, 1, f"{name}_expand")
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        x = net.normalised(x, f"{name}_depthwise")
        x = net.conv(x, filters, 1, f"{name}_project", active=False)
        if stride == 1 and filters == before:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        before = filters
    return net.classifier(net.conv(x, 128, 1, "head"), "mobilenet")


NETS: dict[str, Callable[[float], Any]] = {"residual": residual, "mobilenet": mobilenet}


def trained(net: str, data: TrainingData, *, seed: int, epochs: int = EPOCHS, width: float = 1.0) -> Path:
    """Return the .keras file of one of :data:`NETS`, trained and compiled; see :func:`trained_once`."""
    return trained_once(f"{net}-{width:g}", lambda: NETS[net](width), data, seed=seed, epochs=epochs)


def trained_once(
    name: str,
    build: Callable[[], Any],
    data: TrainingData,
    *,
    seed: int,
    epochs: int,
    objective: Objective = OBJECTIVE,
    task: str = f"strokes-{SHA256[:12]}",
) -> Path:
    """Return the .keras file of a trained, compiled network, from the user's cache folder where it is there.

    Trained as edgepress fine-tunes: Adam, the rate decaying along a cosine, weights of the best epoch on ``data.val``.
    """
    from edgepress.training.fit import fine_tune
    from edgepress.training.seeds import seeded

    folder = user_cache_path("edgepress") / "benchmarks" / task
    path = folder / f"{name}-{epochs}-{seed}.keras"
    if path.exists():
        return path
    with seeded(seed):
        model = build()
    model = fine_tune(model, data, objective, epochs=epochs, seed=seed).model
    model.compile(
        import_keras().optimizers.Adam(objective.learning_rate), objective.loss[0], metrics=[objective.metric]
    )
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.keras")
    model.save(part)
    part.replace(path)
    return path


class _Net:
    """What the layers of one network have in common: its width and how far its activations go."""

    def __init__(self, width: float, ceiling: float | None = None) -> None:
        self._keras = import_keras()
        self._width = width
        self._ceiling = ceiling
        self.inputs = self._keras.Input((SIDE, SIDE, 1), name="image")

    def conv(self, x: Any, filters: int, size: int, name: str, stride: int = 1, *, active: bool = True) -> Any:
        """A convolution of scaled filters, normalised and, if it is to be ``active``, rectified."""
        scaled = max(_MULTIPLE, round(filters * self._width / _MULTIPLE) * _MULTIPLE)
        x = self._keras.layers.Conv2D(scaled, size, stride, padding="same", use_bias=False, name=name)(x)
        return self.normalised(x, name, active=active)

    def normalised(self, x: Any, name: str, *, active: bool = True) -> Any:
        x = self._keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return self._keras.layers.ReLU(self._ceiling, name=f"{name}_relu")(x) if active else x

    def classifier(self, x: Any, name: str) -> Any:
        """The model whose last features are ``x``."""
        x = self._keras.layers.GlobalAveragePooling2D(name="average")(x)
        outputs = self._keras.layers.Dense(CLASSES, activation="softmax", name="letter")(x)
        return self._keras.Model(self.inputs, outputs, name=name)
