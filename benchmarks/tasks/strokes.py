"""The task that separates methods: an invented alphabet, written by unsteady hands in noise and clutter.

Sixteen letters, each of which can be written in two ways of four strokes on a grid of 3x3 points; 24x24 grey pictures
with jitter, rotation, shear, strokes of other letters, either polarity, shading and noise. 10,000 pictures to train,
2,000 to validate, 20,000 to test. The residual network of ``nets.py`` (1.8 MMACs) answers 91.5 % of them after two
minutes of training on one core, and 67 % at a quarter of its width.

    from tasks import load_task            # beside a benchmark; as --data tasks:load_task for the command line
    dataset = load_task()

The same bits on every machine: numbers come straight from PCG64, whose stream numpy promises to keep (NEP 19; that of
Generator's methods it does not), and what is computed from them takes only +, -, *, /, square roots and comparisons of
single elements, which IEEE 754 defines to the last bit. No sums over arrays, no sine, no exponential.
"""

from __future__ import annotations

import math
import os
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from edgepress.data import Dataset
from edgepress.data.fingerprint import sha256_of_arrays

SHA256 = "59d3aa73188df20fb06df9bbe68ef64647a70cf576c2a5c2c8aa565a3edab6f4"
"""Of the arrays below, in the order of :func:`make_arrays`: the version of the task."""

SIDE = 24
CLASSES = 16
WAYS = 2
STROKES = 4
COUNTS = {"train": 10_000, "val": 2_000, "test": 20_000}
LABELS = tuple("ABCDEFGHIJKLMNOP")

_CHUNK = 250  # pictures at a time, to stay in the cache
_CLUTTER = 3  # strokes, some of them faint
_STEPS = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)]  # a king's moves
_DIFFERENT_STROKES = 4  # of the eight of any two ways to write

Array = NDArray[Any]


class Draws:
    """Random numbers from PCG64's bits, in order."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def raw(self, *shape: int) -> Array:
        """Bits, uint64."""
        return np.asarray(self._bits.random_raw(math.prod(shape))).reshape(shape)

    def below(self, count: int, *shape: int) -> Array:
        """Whole numbers 0 to ``count - 1``, int64."""
        return (self.raw(*shape) % np.uint64(count)).astype(np.int64)

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Numbers in [low, high)."""
        return low + (high - low) * ((self.raw(*shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def noise(self, *shape: int) -> Array:
        """Nearly normal numbers of deviation 1: sums of four uniform ones, as whole numbers."""
        sixteenths = self.raw(*shape, 1).view(np.uint16).astype(np.int64)
        total = sixteenths[..., 0] + sixteenths[..., 1] + sixteenths[..., 2] + sixteenths[..., 3]
        return (total - 2 * 0xFFFF) / 37837.0


def load_task() -> Dataset:
    """Return the task: inputs ``(n, 24, 24, 1)`` float32 in 0..1, labels ``(n,)`` int64.

    Made once (half a minute) and kept in the user's cache folder, under a name of its hash.

    Raises:
        RuntimeError: this machine draws other pictures: numbers would not be comparable.
    """
    arrays = _cached() or _kept(make_arrays())
    splits = [array.astype(np.float32)[..., None] / 255 if array.ndim > 1 else array for array in arrays.values()]
    return Dataset.from_arrays(*splits, labels=LABELS, color="gray", scale=(255.0,))


def make_arrays() -> dict[str, Array]:
    """Return ``x_train``, ``y_train``, ``x_val`` ...: pictures ``(n, 24, 24)`` uint8, labels ``(n,)`` int64."""
    ways = alphabet()
    arrays = {}
    for number, (split, count) in enumerate(COUNTS.items(), start=1):
        draws = Draws(number)
        parts = [_pictures(draws, ways, _CHUNK) for _ in range(count // _CHUNK)]
        arrays[f"x_{split}"] = np.concatenate([pictures for pictures, _ in parts])
        arrays[f"y_{split}"] = np.concatenate([labels for _, labels in parts])
    return arrays


def alphabet() -> Array:
    """Return the ways to write each letter, ``(CLASSES, WAYS, STROKES + 1, 2)``: points between -1 and 1.

    Each is a walk over neighbours of the grid that reaches all four of its sides; any two differ in at least four of
    their eight strokes.
    """
    draws = Draws(0)
    walks: list[list[tuple[int, int]]] = []
    seen: list[frozenset[frozenset[tuple[int, int]]]] = []
    while len(walks) < CLASSES * WAYS:
        walk = [(int(draws.below(3)) - 1, int(draws.below(3)) - 1)]
        while len(walk) <= STROKES:
            x, y = _STEPS[int(draws.below(len(_STEPS)))]
            walk.append((walk[-1][0] + x, walk[-1][1] + y))
        strokes = frozenset(frozenset(ends) for ends in pairwise(walk))
        spans = all({min(axis), max(axis)} == {-1, 1} for axis in zip(*walk, strict=True))
        if spans and len(strokes) == STROKES and all(len(strokes ^ other) >= _DIFFERENT_STROKES for other in seen):
            walks.append(walk)
            seen.append(strokes)
    return np.array(walks, np.float64).reshape(CLASSES, WAYS, STROKES + 1, 2)


def _pictures(draws: Draws, ways: Array, count: int) -> tuple[Array, Array]:
    """Draw pictures (uint8) with their labels."""
    labels = draws.below(CLASSES, count)
    points = _by_hand(draws, ways[labels, draws.below(WAYS, count)])
    width = draws.uniform(0.5, 1.1, count, 1, 1)  # half of it, in pixels
    ink = np.zeros((count, SIDE, SIDE))
    for stroke in range(STROKES):
        ink = np.maximum(ink, _stroke(points[:, stroke], points[:, stroke + 1], width))
    for _ in range(_CLUTTER):
        start = draws.uniform(0, SIDE - 1, count, 2)
        end = start + draws.uniform(-8, 8, count, 2)
        strength = draws.uniform(0, 1, count, 1, 1)
        ink = np.maximum(ink, strength * _stroke(start, end, width))
    contrast = draws.uniform(0.3, 0.7, count, 1, 1)
    contrast = np.where(draws.below(2, count, 1, 1) == 1, contrast, -contrast)
    slope = draws.uniform(-0.012, 0.012, count, 2)
    x, y = _grid()
    shade = 0.5 + slope[:, :1, None] * (x - SIDE / 2) + slope[:, 1:, None] * (y - SIDE / 2)
    roughness = draws.uniform(0.04, 0.12, count, 1, 1)
    grey = shade + contrast * (ink - 0.5) + roughness * draws.noise(count, SIDE, SIDE)
    return np.floor(255 * np.clip(grey, 0, 1) + 0.5).astype(np.uint8), labels


def _by_hand(draws: Draws, points: Array) -> Array:
    """Points of letters ``(n, points, 2)`` as an unsteady hand puts them, in pixels."""
    count = len(points)
    points = points + draws.uniform(-0.25, 0.25, *points.shape)
    half = draws.uniform(-0.17, 0.17, count, 1)  # tangent of half the angle: up to 20 degrees either way, without sine
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    size = draws.uniform(5.5, 8.5, count, 2)  # pixels from one point of the grid to the next
    shear = draws.uniform(-0.25, 0.25, count, 1)
    moved = draws.uniform(-2.5, 2.5, count, 2)
    x, y = size[:, :1] * points[..., 0], size[:, 1:] * points[..., 1]
    x = x + shear * y
    centre = (SIDE - 1) / 2
    return np.stack(
        [cosine * x - sine * y + moved[:, :1] + centre, sine * x + cosine * y + moved[:, 1:] + centre], axis=-1
    )


def _stroke(start: Array, end: Array, width: Array) -> Array:
    """Ink 0..1 of strokes between points ``(n, 2)``: 1 inside half the width, fading out over one pixel."""
    x, y = _grid()
    start_x, start_y = start[:, 0, None, None], start[:, 1, None, None]
    along_x, along_y = end[:, 0, None, None] - start_x, end[:, 1, None, None] - start_y
    length = along_x * along_x + along_y * along_y
    from_x, from_y = x - start_x, y - start_y
    place = np.clip((from_x * along_x + from_y * along_y) / np.maximum(length, 1e-6), 0, 1)
    off_x, off_y = from_x - place * along_x, from_y - place * along_y
    distance = np.sqrt(off_x * off_x + off_y * off_y)
    return np.asarray(np.clip(width + 0.5 - distance, 0, 1))


def _grid() -> tuple[Array, Array]:
    places = np.arange(SIDE, dtype=np.float64)
    return places[None, None, :], places[None, :, None]


def _file() -> Path:
    return user_cache_path("edgepress") / "benchmarks" / f"strokes-{SHA256[:12]}.npz"


def _cached() -> dict[str, Array] | None:
    """The arrays that were made before; None where there are none, or others."""
    try:
        with _file().open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if sha256_of_arrays(arrays.values()) == SHA256 else None


def _kept(arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays, after a check, on disk."""
    found = sha256_of_arrays(arrays.values())
    if found != SHA256:
        raise RuntimeError(f"the task's pictures have the sha256 {found} here, not {SHA256}: is numpy's PCG64 another?")
    part = _file().with_suffix(f".{os.getpid()}.part.npz")
    part.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(part, allow_pickle=False, **arrays)
    part.replace(_file())
    return arrays
