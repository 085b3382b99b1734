"""The splits, and the one that stays closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepress.data.fingerprint import sha256_of_arrays
from edgepress.data.input_spec import InputSpec
from edgepress.errors import DataError

Array = NDArray[Any]
Arrays = Array | Sequence[Array]


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

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample's inputs, at least 1."""
        return max(1, sum(x.nbytes for x in self.inputs) // max(1, len(self)))

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
                f"the held-out test split is opened once per run; {self._opened_by!r} did, now {reason!r} asks. "
                "For another run, make the Dataset anew"
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

    @classmethod
    def from_arrays(
        cls,
        x_train: Arrays,
        y_train: Arrays,
        x_val: Arrays,
        y_val: Arrays,
        x_test: Arrays | None = None,
        y_test: Arrays | None = None,
        *,
        labels: Sequence[str] = (),
        color: Literal["rgb", "bgr", "gray"] | None = None,
        mean: Sequence[float] = (0.0,),
        scale: Sequence[float] = (1.0,),
        seed: int = 0,
    ) -> Dataset:
        """Make a dataset from arrays, each ``(n, ...)`` as the model takes it; a sequence of them for several inputs
        or outputs, in model order.

        Without a test split, a half of val (drawn by ``seed``) is set aside for it, and ``notes`` says so. ``mean``
        and ``scale`` say how raw input becomes what these arrays hold; they are not applied here.

        Raises:
            DataError: the arrays do not fit each other, or hold NaN or infinity.
        """
        from edgepress.data.checks import check_splits

        splits = {"train": _split(x_train, y_train), "val": _split(x_val, y_val)}
        notes: tuple[str, ...] = ()
        if x_test is not None and y_test is not None:
            splits["test"] = _split(x_test, y_test)
        elif x_test is not None or y_test is not None:
            raise DataError("x_test and y_test come together: one of them is missing")
        check_splits(splits)
        if "test" not in splits:
            count = len(splits["val"])
            splits["val"], splits["test"] = _halves(splits["val"], seed)
            notes = (
                f"no x_test: half of val ({len(splits['test'])} of {count} samples, seed {seed}) was set aside to test",
            )
        train = splits["train"]
        spec = InputSpec(
            shapes=tuple(x.shape[1:] for x in train.inputs),
            dtypes=tuple(str(x.dtype) for x in train.inputs),
            value_ranges=tuple((float(x.min()), float(x.max())) for x in train.inputs),
            color=color,
            mean=tuple(mean),
            scale=tuple(scale),
            labels=tuple(labels),
        )
        digest = sha256_of_arrays(array for split in splits.values() for array in (*split.inputs, *split.targets))
        return cls(train, splits["val"], HeldOut(splits["test"]), spec, digest, notes)

    @property
    def training(self) -> TrainingData:
        """The part that steps may see."""
        return TrainingData(self.train, self.val, self.input_spec)


def _split(inputs: Arrays, targets: Arrays) -> Split:
    return Split(_as_tuple(inputs), _as_tuple(targets))


def _as_tuple(arrays: Arrays) -> tuple[Array, ...]:
    return (arrays,) if isinstance(arrays, np.ndarray) else tuple(np.asarray(array) for array in arrays)


def _halves(split: Split, seed: int) -> tuple[Split, Split]:
    """Two halves of a split, drawn without replacement, order kept."""
    shuffled = np.random.default_rng(seed).permutation(len(split))
    middle = len(split) // 2
    return split.take(np.sort(shuffled[:middle])), split.take(np.sort(shuffled[middle:]))
