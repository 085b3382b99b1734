"""Logs of trainings, where somebody asked for them: a table for spreadsheets and curves for TensorBoard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras


def logging_callbacks(folder: Path | None, description: str) -> list[Any]:
    """Return Keras callbacks that write ``epochs.csv`` and an event file into a new folder for this training.

    Args:
        folder: the parent of the new folder; None: nobody asked.
        description: what the folder is called by.
    """
    if folder is None:
        return []
    own = _new_folder(folder, re.sub(r"\W+", "-", description).strip("-").lower())
    return [keras.callbacks.CSVLogger(str(own / "epochs.csv")), EventLog(own)]


class EventLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes each number of an epoch's logs as a TensorBoard scalar.

    Keras' own callback wants the package ``tensorboard`` for that; TensorFlow can write the files without.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._writer: Any = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the file."""
        del logs
        import tensorflow as tf

        self._writer = tf.summary.create_file_writer(str(self._folder))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the epoch's numbers, at the number of epochs that are done."""
        import tensorflow as tf

        about = tf.compat.v1.SummaryMetadata()
        about.plugin_data.plugin_name = "scalars"
        with self._writer.as_default():
            for name, value in (logs or {}).items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=epoch + 1, metadata=about)
        self._writer.flush()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the file."""
        del logs
        self._writer.close()


def _new_folder(parent: Path, name: str) -> Path:
    """``name``, or ``name-2``, ``name-3`` ...: a recipe may train several times under one description."""
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
