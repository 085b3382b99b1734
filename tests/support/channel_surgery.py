"""Removing channels of small models, for the tests of the channel algebra."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Channels, channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.surgery import Surgery, remove_channels
from support.compress_models import randomised

layers = keras.layers


def channels_in(model: Any) -> Channels:
    return channels_of(read(model), rule_for)


def some_of(channels: Channels, share: float = 0.5, seed: int = 0) -> NDArray[np.int64]:
    """Some atoms of every group that may lose any; never all of a group."""
    generator = np.random.default_rng(seed)
    removed = [np.zeros(0, np.int64)]
    for group in channels.groups:
        if group.frozen is None:
            count = min(len(group.atoms) - 1, round(share * len(group.atoms)))
            removed.append(generator.choice(group.atoms, count, replace=False))
    return np.concatenate(removed)


def cut(model: Any, share: float = 0.5, seed: int = 0) -> Surgery:
    """The model without a share of its channels; the proof inside compares it with the whole one."""
    channels = channels_in(randomised(model, seed))
    return remove_channels(channels, some_of(channels, share, seed), seed)


def free(model: Any) -> set[str]:
    """Names of layers that may lose channels which they make."""
    return {name for group in channels_in(model).groups if group.frozen is None for name in group.producers}


def frozen(model: Any) -> dict[str, str]:
    """Why other layers may not, by name."""
    return {name: group.frozen for group in channels_in(model).groups for name in group.producers if group.frozen}


def then(*following: Any, shape: tuple[int, ...] = (6, 6, 2), filters: int = 8, **settings: Any) -> Any:
    """Inputs, a convolution called conv, and what follows."""
    return after(layers.Conv2D(filters, 3, name="conv", **settings), *following, shape=shape)


def after(*following: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Inputs, and layers or functions called one after the other."""
    x = inputs = keras.Input(shape, dtype=dtype)
    for layer in following:
        x = layer(x)
    return keras.Model(inputs, x)
