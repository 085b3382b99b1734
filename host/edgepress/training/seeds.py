"""Randomness by seed, and nothing left behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make what Keras draws inside the block repeatable: initial weights, and the seeds of dropout.

    Keras takes the seed of each new layer and initializer from Python's own generator, so that one is seeded and, at
    the end, put back as it was. TensorFlow's and numpy's global generators are not touched: shuffling in
    :mod:`edgepress.training.fit` has a seed of its own.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
