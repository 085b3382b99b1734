"""Pictures in folders, one folder for each class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepress.data.dataset import Dataset
from edgepress.errors import DataError

Array = NDArray[Any]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_SHARES = {"train": 0.7, "val": 0.15}  # of pictures that are not in splits; the rest is test
_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Pictures:
    """How a picture becomes what the model sees: read in this colour, scaled to this size, ``(raw - mean) / scale``.

    Attributes:
        size: height and width.
        color: order of the channels.
        mean, scale: one number, or one per channel; raw values go from 0 to 255.
    """

    size: tuple[int, int]
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture, as the model takes it."""
        return (*self.size, 1 if self.color == "gray" else 3)

    def read(self, path: Path) -> Array:
        """Return one picture, ``shape`` float32.

        Raises:
            DataError: it cannot be read.
        """
        from PIL import Image, ImageOps, UnidentifiedImageError

        height, width, channels = self.shape
        try:
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)  # cameras note how they were held
                resized = upright.convert("L" if channels == 1 else "RGB").resize((width, height))
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} is not a picture that can be read: {error}") from error
        raw = np.asarray(resized, np.float32).reshape(self.shape)
        if self.color == "bgr":
            raw = raw[..., ::-1]
        return np.asarray((raw - np.array(self.mean, np.float32)) / np.array(self.scale, np.float32), np.float32)


def load_pictures(folder: Path, pictures: Pictures, seed: int) -> Dataset:
    """Read a folder of pictures: ``folder/train/CLASS/*.png``, ``val``, and ``test`` if there is one; or
    ``folder/CLASS/*.png``, of which a seeded share of every class is taken for each split.

    Raises:
        DataError: there are no classes, a class has too few pictures, splits have other classes than ``train``, or a
            picture cannot be read.
    """
    here = {path.name for path in _folders(folder)}
    splits, notes = (_by_split(folder), ()) if {"train", "val", "validation"} & here else _by_seed(folder, seed)
    labels = sorted(splits["train"])
    if len(labels) < 2:
        raise DataError(
            f"{folder} has {len(labels)} folders of pictures; wanted is one for each class, in {folder} or in "
            f"{folder}/train and {folder}/val"
        )
    for name, classes in splits.items():
        unknown = sorted(set(classes) - set(labels))
        if unknown:
            raise DataError(f"{folder}: {name} has the class {unknown[0]!r}, which train has not: {', '.join(labels)}")
    arrays: list[Array] = []
    for classes in splits.values():
        files = [(file, labels.index(label)) for label in sorted(classes) for file in classes[label]]
        inputs = np.empty((len(files), *pictures.shape), np.float32)
        for index, (file, _) in enumerate(files):
            inputs[index] = pictures.read(file)
        arrays += [inputs, np.array([label for _, label in files], np.int64)]
    dataset = Dataset.from_arrays(
        *arrays, labels=labels, color=pictures.color, mean=pictures.mean, scale=pictures.scale, seed=seed
    )
    return replace(dataset, notes=(*notes, *dataset.notes))


def _by_split(folder: Path) -> dict[str, dict[str, list[Path]]]:
    splits = {_SPLITS[path.name]: _by_class(path) for path in _folders(folder) if path.name in _SPLITS}
    missing = [name for name in ("train", "val") if name not in splits]
    if missing:
        raise DataError(f"{folder} has no folder {missing[0]}: wanted are train and val, and test if there is one")
    return {name: splits[name] for name in ("train", "val", "test") if name in splits}


def _by_seed(folder: Path, seed: int) -> tuple[dict[str, dict[str, list[Path]]], tuple[str, ...]]:
    generator = np.random.default_rng(seed)
    splits: dict[str, dict[str, list[Path]]] = {"train": {}, "val": {}, "test": {}}
    for label, files in _by_class(folder).items():
        shuffled = [files[index] for index in generator.permutation(len(files))]
        first = round(_SHARES["train"] * len(files))
        second = first + max(1, round(_SHARES["val"] * len(files)))
        parts = {"train": shuffled[:first], "val": shuffled[first:second], "test": shuffled[second:]}
        if not all(parts.values()):
            raise DataError(f"{folder / label} has {len(files)} pictures: too few to train, to validate and to test")
        for name, part in parts.items():
            splits[name][label] = part
    note = f"pictures were split by seed {seed}: " + ", ".join(
        f"{sum(map(len, classes.values()))} {name}" for name, classes in splits.items()
    )
    return splits, (note,)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """Pictures by name of their folder; hidden files and other kinds of files are passed over."""
    found = {
        path.name: sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        for path in _folders(folder)
    }
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise DataError(f"{folder / empty[0]} has no pictures ({', '.join(SUFFIXES)})")
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
