"""What a user wants of training, beside what a recipe says and a model was compiled with."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Training:
    """How the steps of every recipe of a call are to train. What is left out is as the model was compiled::

        edgepress.run(..., training=edgepress.Training(augmentation=keras.layers.RandomFlip(), logs="logs"))

    Attributes:
        loss: what Keras takes: one for all outputs, a list in model order, or a dict by output.
        optimizer: a Keras optimizer; its learning rate is where fine-tuning starts, unless a recipe says another.
        batch_size: of fine-tuning.
        augmentation: changes a batch of training inputs (a tensor; a tuple of several inputs), each time anew: a Keras
            layer, which draws by the seed, or a function of TensorFlow's, whose ``tf.random`` does not.
        mixed_precision: compute in half precision, for GPUs; weights stay float32.
        logs: a folder that gets a table (CSV) and TensorBoard's curves of every training.
    """

    loss: Any = None
    optimizer: Any = None
    batch_size: int | None = None
    augmentation: Callable[[Any], Any] | None = None
    mixed_precision: bool = False
    logs: str | Path | None = None

    def identity(self) -> dict[str, str]:
        """What of it changes a model, in words that are the same for the same things: for caches."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "logs"}
        return {name: identity_of(value) for name, value in fields.items()}


def identity_of(value: Any) -> str:
    """Return what a value is, in words: a Keras object by its configuration, a function by its source."""
    if hasattr(value, "get_config"):
        return f"{type(value).__name__} { {**value.get_config(), 'name': None} }"
    if isinstance(value, dict):
        return str({key: identity_of(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return str([identity_of(each) for each in value])
    if callable(value):
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):  # typed in at a prompt, or written in C
            source = ""
        return f"{getattr(value, '__qualname__', type(value).__name__)} {hashlib.sha256(source.encode()).hexdigest()}"
    return str(value)
