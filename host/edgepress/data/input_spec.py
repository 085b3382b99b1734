"""What a model's input means: it travels from the data through calibration to the manifest on the board."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class InputSpec:
    """One meaning for every place that prepares an input.

    The model sees ``(raw - mean) / scale`` where ``raw`` is what a camera or file gives; with the defaults it sees raw.

    Attributes:
        shapes: of each model input, without the batch.
        dtypes: numpy names, as the Keras model takes them.
        value_ranges: (min, max) of each input over the training data, after mean and scale.
        color: order of the last axis of a picture: ``rgb``, ``bgr``, ``gray``; None when the input is no picture.
        mean, scale: one number, or one per channel.
        labels: names of the first output's classes, in its order; empty when unknown.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    value_ranges: tuple[tuple[float, float], ...]
    color: Literal["rgb", "bgr", "gray"] | None = None
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    labels: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for manifests and reports."""
        return dataclasses.asdict(self)
