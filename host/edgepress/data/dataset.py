"""The splits, and the one that stays closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.data.input_spec import InputSpec
from edgepress.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Samples and their targets.

    Attributes:
        inputs: one array per model input, in model order, each ``(n, ...)``.
        targets: one array per model output, in model order, each ``(n, ...)``; integer labels or values.
    """

    inputs: tuple[Array, ...]
    targets: tuple[Array, ...]

    def __len__(self) -> int:
        return int(self.inputs[0].shape[0]) if self.inputs else 0

    def take(self, indices: Array | slice) -> Split:
        """Return the samples at ``indices``."""
        return Split(tuple(x[indices] for x in self.inputs), tuple(y[indices] for y in self.targets))

    def sample(self, count: int, seed: int) -> Split:
        """Return ``count`` samples drawn without replacement (all of them when there are fewer), order kept."""
        if count >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return self.take(np.sort(chosen))


class HeldOut:
    """The test split. It is opened once, at the end, by the pipeline; compression steps never receive it."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._opened_by: str | None = None

    def __len__(self) -> int:
        return len(self._split)

    def open(self, reason: str) -> Split:
        """Return the split.

        Raises:
            DataError: it was opened before: a number from a split that was looked at twice is no held-out number.
        """
        if self._opened_by is not None:
            raise DataError(
                f"the held-out test split is opened once per run; {self._opened_by!r} did, now {reason!r} asks"
            )
        self._opened_by = reason
        return self._split


@dataclass(frozen=True)
class TrainingData:
    """All that a compression step may see. Calibration uses ``train`` only; ``val`` is for choices and early stops."""

    train: Split
    val: Split
    input_spec: InputSpec


@dataclass(frozen=True)
class Dataset:
    """What ``--data`` names.

    Attributes:
        sha256: of all arrays' bytes, shapes and dtypes, in a fixed order: part of a result's key.
        notes: what a report must say about the data, e.g. that half of val was set aside because there is no x_test.
    """

    train: Split
    val: Split
    held_out: HeldOut
    input_spec: InputSpec
    sha256: str
    notes: tuple[str, ...] = field(default=())

    @property
    def training(self) -> TrainingData:
        """The part that steps may see."""
        return TrainingData(self.train, self.val, self.input_spec)
