"""Whether data fit a model, said with numbers before any training starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.data.dataset import Dataset, Split
from edgepress.errors import DataError

Array = NDArray[Any]

_MINIMUM_SAMPLES = 2


def check_splits(splits: dict[str, Split]) -> None:
    """Check that splits are sound in themselves and fit each other.

    Raises:
        DataError: an empty split, arrays of different lengths or shapes, NaN or infinity, something else than numbers,
            inputs that are fractions in one split and whole numbers in another.
    """
    first_name, first = next(iter(splits.items()))
    for name, split in splits.items():
        for label, arrays, reference in (
            ("input", split.inputs, first.inputs),
            ("target", split.targets, first.targets),
        ):
            if not arrays:
                raise DataError(f"{name} has no {label}s")
            if len(arrays) != len(reference):
                raise DataError(f"{name} has {len(arrays)} {label}s but {first_name} has {len(reference)}")
            for index, (array, expected) in enumerate(zip(arrays, reference, strict=True)):
                what = f"{label} {index} of {name}" if len(arrays) > 1 else f"the {label} of {name}"
                _check_array(what, array, split)
                if array.shape[1:] != expected.shape[1:]:
                    raise DataError(
                        f"{what} has samples of shape {array.shape[1:]} but those of {first_name} have "
                        f"{expected.shape[1:]}"
                    )
                if label == "input" and (array.dtype.kind == "f") != (expected.dtype.kind == "f"):
                    raise DataError(
                        f"{what} has the dtype {array.dtype} but that of {first_name} {expected.dtype}: prepare the "
                        "inputs of all splits alike"
                    )


def check_fits(dataset: Dataset, model: Any) -> None:
    """Check that the data fit a model's inputs and outputs.

    Of the held-out split, too: shapes and labels only, nothing that training could make use of.

    Raises:
        DataError: what does not fit, what the model takes, and what was given.
    """
    for name, split in (("train", dataset.train), ("val", dataset.val), ("test", dataset.held_out._split)):
        _check_count(name, "input", len(split.inputs), len(model.inputs))
        _check_count(name, "target", len(split.targets), len(model.outputs))
        for tensor, x in zip(model.inputs, split.inputs, strict=True):
            _check_input(name, tensor, x)
        for tensor, y in zip(model.outputs, split.targets, strict=True):
            _check_target(name, tensor, y)
    _check_labels(dataset.input_spec.labels, _classes(model.outputs[0]))


def _check_labels(labels: tuple[str, ...], classes: int) -> None:
    if labels and classes > 1 and len(labels) != classes:
        raise DataError(f"there are {len(labels)} names in labels, but the model's output has {classes} classes")


def _check_array(what: str, array: Array, split: Split) -> None:
    if array.ndim == 0 or len(array) < _MINIMUM_SAMPLES:
        raise DataError(f"{what} has the shape {array.shape}: at least {_MINIMUM_SAMPLES} samples are needed")
    if len(array) != len(split):
        raise DataError(f"{what} has {len(array)} samples, but the split has {len(split)}")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} has the dtype {array.dtype}; numbers are wanted")
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            where = np.unique(np.nonzero(bad)[0])
            raise DataError(
                f"{what} has NaN or infinity in {len(where)} of {len(array)} samples (the first is sample {where[0]}): "
                "remove or repair them"
            )


def _check_count(split: str, what: str, given: int, wanted: int) -> None:
    if given != wanted:
        numbered = "x" if what == "input" else "y"
        raise DataError(
            f"the model has {wanted} {what if what == 'input' else 'output'}s, but {split} has {given} {what} arrays "
            f"(several are given as {numbered}_{split}_0, {numbered}_{split}_1 ... in model order)"
        )


def _check_input(split: str, tensor: Any, x: Array) -> None:
    wanted = tuple(tensor.shape[1:])
    if x.shape[1:] == wanted:
        return
    hint = ""
    if (*x.shape[1:], 1) == wanted:
        hint = ": add the last axis, x[..., None]"
    elif x.ndim == 4 and (*x.shape[2:], x.shape[1]) == wanted:
        hint = ": the channels come last, np.moveaxis(x, 1, -1)"
    raise DataError(
        f"the model's input {tensor.name!r} takes samples of shape {wanted}, but those of {split} have the shape "
        f"{x.shape[1:]}{hint}"
    )


def _check_target(split: str, tensor: Any, y: Array) -> None:
    shape = tuple(tensor.shape[1:])
    if y.shape[1:] == shape and shape != (1,):
        return
    classes = _classes(tensor)
    if y.shape[1:] not in set(_label_shapes(shape)):
        raise DataError(
            f"the model's output {tensor.name!r} has the shape {shape}, but the targets of {split} have "
            f"{y.shape[1:]}: one label per sample, or the output's own shape"
        )
    if classes == 1:
        return
    if y.dtype.kind == "f" and not np.array_equal(y, np.round(y)):
        raise DataError(
            f"the labels of {split} are not whole numbers (dtype {y.dtype}), but there are {classes} classes"
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"the labels of {split} go from {low} to {high}, but the model's output {tensor.name!r} has {classes} "
            f"classes: labels 0 to {classes - 1} are wanted"
        )


def _classes(tensor: Any) -> int:
    return int(tensor.shape[-1]) if len(tensor.shape) > 1 else 1


def _label_shapes(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Shapes of targets that fit an output: its own, and one number in place of the last axis."""
    yield shape
    yield shape[:-1]
    yield (*shape[:-1], 1)
