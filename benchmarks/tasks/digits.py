"""scikit-learn's handwritten digits, 8x8, at the size that networks for MNIST take: easy, and small."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.data import Dataset

SIDE = 28
CLASSES = 10
COUNTS = {"train": 1_000, "val": 297, "test": 500}


def load_digits_of(seed: int) -> Dataset:
    """Return the 1,797 digits as 28x28x1 float32 in 0..1, dealt into the splits by ``seed``."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.images))
    images = enlarged(digits.images[order] / 16)[..., None].astype(np.float32)
    targets = digits.target[order].astype(np.int64)
    train, val, test = np.split(np.arange(len(order)), np.cumsum(list(COUNTS.values()))[:-1])
    splits = [array[part] for part in (train, val, test) for array in (images, targets)]
    labels = [str(name) for name in digits.target_names]
    return Dataset.from_arrays(*splits, labels=labels, color="gray", scale=(255.0,))


def enlarged(images: NDArray[Any]) -> NDArray[Any]:
    """Interpolate pictures ``(n, 8, 8)`` to ``(n, 28, 28)``, linearly between the centres of pixels."""
    side = images.shape[1]
    places = np.clip((np.arange(SIDE) + 0.5) * side / SIDE - 0.5, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side)))  # (28, 8)
    larger: NDArray[Any] = np.einsum("ij,njk,lk->nil", weights, images, weights, optimize=True)
    return larger
