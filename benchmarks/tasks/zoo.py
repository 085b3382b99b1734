"""Twenty small networks for the strokes, most of them with something in them that breaks int8.

The planted ones compute what an honest network computes, or were trained as they are: in float nothing is wrong.
Five architectures of 0.3 to 0.9 MMACs, trained eleven times in all: what is planted by computing may be planted in a
network that stands here without it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.data import TrainingData
from edgepress.models import import_keras, load_model
from tasks.nets import trained_once
from tasks.strokes import CLASSES, SIDE

EPOCHS = 8

SCALES, OUTLIER, CONCAT = "channel scales", "outlier channel", "wide concatenation"
GATE, PREPROCESSING = "gate", "preprocessing"
"""What is planted, in the words of the diagnosis."""

_STEPS = 9  # of channel scales: 2^-4 to 2^4
_OUTLIER = 128.0
_BRANCH = 128.0
_CLOSED = -4.0  # bias of gates: sigmoid(-4) is 0.018
_FURTHER = 2.0  # exp(2) is 7.4
_LOUD = 16.0  # what such gates have to quieten


@dataclass(frozen=True)
class Subject:
    """One network of the zoo.

    Attributes:
        name: of it.
        build: makes the architecture, not trained.
        seed: of its training.
        planted: one of the kinds above, or None.
        plant: changes the trained model in place and computes the same.
        prepare: what is done wrong to the calibration data.
        layers: where the fault is: names of layers, any of which is right.
    """

    name: str
    build: Callable[[], Any]
    seed: int
    planted: str | None = None
    plant: Callable[[Any], None] | None = None
    prepare: Callable[[Any], Any] | None = None
    layers: tuple[str, ...] = ()

    def model(self, data: TrainingData) -> Any:
        """Return the network, trained and planted."""
        model = load_model(self.base(data))
        if self.plant is not None:
            self.plant(model)
        return model

    def base(self, data: TrainingData) -> Path:
        """Return the file of the trained network, before anything is planted in it."""
        kind = getattr(self.build, "func", self.build).__name__
        closed = "-closed" if self.planted == GATE else ""
        return trained_once(f"zoo-{kind}{closed}", self.build, data, seed=self.seed, epochs=EPOCHS)


def plain() -> Any:
    """Convolutions one after the other."""
    x = _inputs()
    out = _conv(x, 16, 3, "conv1", 2)
    out = _conv(out, 24, 3, "conv2", 2)
    out = _conv(out, 32, 3, "conv3")
    out = _conv(out, 48, 3, "conv4", 2)
    return _classifier(x, out, "plain")


def residual() -> Any:
    """Two residual blocks (He et al. 2016)."""
    layers = import_keras().layers
    x = _inputs()
    out = _conv(x, 16, 3, "stem", 2)
    for number, filters in enumerate((24, 32), start=1):
        name = f"block{number}"
        shortcut = _conv(out, filters, 1, f"{name}_shortcut", 2, activation=None)
        out = _conv(out, filters, 3, f"{name}_a", 2)
        out = _conv(out, filters, 3, f"{name}_b", activation=None)
        out = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, out]))
    return _classifier(x, out, "residual")


def mobile() -> Any:
    """Inverted residuals with ReLU6 and linear bottlenecks (Sandler et al. 2018)."""
    layers = import_keras().layers
    x = _inputs()
    out, before = _conv(x, 16, 3, "stem", 2, "relu6"), 16
    for number, (inside, filters, stride) in enumerate([(48, 16, 1), (64, 24, 2), (96, 24, 1), (96, 32, 2)], start=1):
        name, shortcut = f"block{number}", out
        out = _conv(out, inside, 1, f"{name}_expand", activation="relu6")
        out = _depthwise(out, f"{name}_depthwise", stride)
        out = _conv(out, filters, 1, f"{name}_project", activation=None)
        if stride == 1 and filters == before:
            out = layers.Add(name=f"{name}_add")([shortcut, out])
        before = filters
    return _classifier(x, _conv(out, 64, 1, "head", activation="relu6"), "mobile")


def branches() -> Any:
    """Two blocks of three branches that are put side by side (Szegedy et al. 2015)."""
    layers = import_keras().layers
    x = _inputs()
    out = _conv(_conv(x, 16, 3, "stem", 2), 24, 3, "deep", 2)
    for number, filters in enumerate((12, 16), start=1):
        name = f"mixed{number}"
        pooled = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(out)
        one = _conv(out, filters, 1, f"{name}_one")
        three = _conv(out, 2 * filters, 3, f"{name}_three")
        out = layers.Concatenate(name=f"{name}_concat")([one, three, _conv(pooled, filters, 1, f"{name}_pooled")])
        out = _conv(out, 2 * filters, 1, f"{name}_reduce") if number == 1 else out
    return _classifier(x, out, "branches")


def gated(closed: bool = False) -> Any:
    """Swish and squeeze-and-excitation (Hu et al. 2018); ``closed``: the gates begin near 0."""
    keras = import_keras()
    layers = keras.layers
    x = _inputs()
    out = _conv(x, 16, 3, "stem", 2, "swish")
    for number, (inside, filters) in enumerate([(32, 24), (48, 32)], start=1):
        name = f"block{number}"
        out = _conv(out, inside, 3, f"{name}_expand", 2, "swish", loudness=_LOUD if closed else 1.0)
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(out)
        gate = layers.Conv2D(inside // 4, 1, activation="relu", name=f"{name}_reduce")(gate)
        gate = layers.Conv2D(
            inside,
            1,
            activation="sigmoid",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01 if closed else 0.1),
            bias_initializer=keras.initializers.Constant(_CLOSED if closed else 0.0),
            name=f"{name}_gate",
        )(gate)
        out = layers.Multiply(name=f"{name}_excite")([out, gate])
        out = _conv(out, filters, 1, f"{name}_project", activation=None)
    return _classifier(x, _conv(out, 64, 1, "head", activation="swish"), "gated")


def scale_channels(writer: str, reader: str, seed: int, model: Any) -> None:
    """Multiply each channel of a normalised layer by a power of two, and undo it in the layer that reads it."""
    norm = model.get_layer(f"{writer}_norm")
    powers = np.random.default_rng(seed).permutation(np.arange(len(norm.get_weights()[0])) % _STEPS) - _STEPS // 2
    _rescale(model, writer, reader, 2.0**powers)


def raise_channel(writer: str, reader: str, channel: int, model: Any) -> None:
    """Multiply one channel, and undo it in the layer that reads it."""
    factors = np.ones(len(model.get_layer(f"{writer}_norm").get_weights()[0]))
    factors[channel] = _OUTLIER
    _rescale(model, writer, reader, factors)


def raise_branch(branch: str, reader: str, first: int, model: Any) -> None:
    """Multiply all channels of one branch; ``first`` is where they begin in what the reader reads."""
    channels = len(model.get_layer(f"{branch}_norm").get_weights()[0])
    _rescale(model, branch, reader, np.full(channels, _BRANCH), first)


def close_gates(model: Any) -> None:
    """Close gates that are nearly closed seven times further, and undo it in what follows.

    A sigmoid of what is far below 0 is an exponential: not exactly, so that the model answers a little otherwise.
    """
    for block in (1, 2):
        gate, reader = model.get_layer(f"block{block}_gate"), model.get_layer(f"block{block}_project")
        kernel, bias = gate.get_weights()
        gate.set_weights([kernel, bias - _FURTHER])
        reader.set_weights([weight * np.exp(_FURTHER) for weight in reader.get_weights()])


def _rescale(model: Any, writer: str, reader: str, factors: Any, first: int = 0) -> None:
    norm, layer = model.get_layer(f"{writer}_norm"), model.get_layer(reader)
    gamma, beta, *statistics = norm.get_weights()
    norm.set_weights([gamma * factors, beta * factors, *statistics])
    kernel, *bias = layer.get_weights()
    kernel[..., first : first + len(factors), :] /= factors[:, None]
    layer.set_weights([kernel, *bias])


def _inputs() -> Any:
    return import_keras().Input((SIDE, SIDE, 1), name="image")


def _conv(
    x: Any, filters: int, size: int, name: str, stride: int = 1, activation: str | None = "relu", loudness: float = 1.0
) -> Any:
    x = import_keras().layers.Conv2D(filters, size, stride, padding="same", use_bias=False, name=name)(x)
    return _normalised(x, name, activation, loudness)


def _depthwise(x: Any, name: str, stride: int) -> Any:
    x = import_keras().layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)(x)
    return _normalised(x, name, "relu6")


def _normalised(x: Any, name: str, activation: str | None, loudness: float = 1.0) -> Any:
    keras = import_keras()
    initial = keras.initializers.Constant(loudness)
    x = keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=initial, name=f"{name}_norm")(x)
    if activation is None:
        return x
    ceilings = {"relu": None, "relu6": 6.0}
    name = f"{name}_{activation}"
    if activation in ceilings:
        return keras.layers.ReLU(ceilings[activation], name=name)(x)
    return keras.layers.Activation(activation, name=name)(x)


def _classifier(inputs: Any, x: Any, name: str) -> Any:
    keras = import_keras()
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="letter")(x), name=name)


def _scaled(name: str, build: Callable[[], Any], seed: int, writer: str, reader: str) -> Subject:
    return Subject(name, build, seed, SCALES, partial(scale_channels, writer, reader, seed), layers=(writer, reader))


def _raised(name: str, build: Callable[[], Any], seed: int, writer: str, reader: str, channel: int) -> Subject:
    return Subject(name, build, seed, OUTLIER, partial(raise_channel, writer, reader, channel), layers=(writer, reader))


def _wide(name: str, seed: int, block: str, branch: str, first: int, reader: str) -> Subject:
    plant = partial(raise_branch, f"{block}_{branch}", reader, first)
    return Subject(name, branches, seed, CONCAT, plant, layers=(f"{block}_concat", f"{block}_{branch}", reader))


def _misfed(name: str, build: Callable[[], Any], seed: int, prepare: Callable[[Any], Any]) -> Subject:
    return Subject(name, build, seed, PREPROCESSING, prepare=prepare)


def _closed(name: str, seed: int) -> Subject:
    gates = tuple(f"block{block}_{part}" for block in (1, 2) for part in ("gate", "excite"))
    return Subject(name, partial(gated, closed=True), seed, GATE, close_gates, layers=gates)


ZOO: tuple[Subject, ...] = (
    Subject("plain", plain, 0),
    Subject("residual", residual, 0),
    Subject("mobile", mobile, 0),
    Subject("branches", branches, 0),
    Subject("gated", gated, 0),
    _scaled("plain scaled", plain, 1, "conv2", "conv3"),
    _scaled("residual scaled", residual, 1, "block2_a", "block2_b"),
    _scaled("gated scaled", gated, 0, "block2_project", "head"),
    _raised("plain outlier", plain, 0, "conv3", "conv4", 7),
    _raised("residual outlier", residual, 0, "block1_a", "block1_b", 3),
    _raised("mobile outlier", mobile, 0, "block4_project", "head", 11),
    _wide("branches loud one", 1, "mixed1", "one", 0, "mixed1_reduce"),
    _wide("branches loud three", 0, "mixed1", "three", 12, "mixed1_reduce"),
    _wide("branches loud pooled", 1, "mixed2", "pooled", 48, "letter"),
    _closed("gated closed 1", 1),
    _closed("gated closed 2", 2),
    _closed("gated closed 3", 3),
    _misfed("plain not scaled", plain, 1, lambda x: x * 255),
    _misfed("branches about zero", branches, 0, lambda x: 2 * x - 1),
    _misfed("residual scaled twice", residual, 1, lambda x: x / 255),
)


def built(name: str) -> Any:
    """Return the untrained network of a subject."""
    (subject,) = (one for one in ZOO if one.name == name)
    return subject.build()
