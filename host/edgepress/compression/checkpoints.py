"""A model after each step, on disk, so that work that was done is not done again.

``<n>-<kind>-<key>.keras`` beside ``<n>-<kind>-<key>.json``. The key is a hash of all that the model was made from: the
model that came in, the data, the objective, the seed and the settings of all steps so far. So recipes may share a
folder, and those that begin alike share their first steps.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from edgepress.compression.report import entry_from_dict
from edgepress.compression.steps import StepEntry
from edgepress.data.fingerprint import sha256_of_arrays
from edgepress.models import model_sha256
from edgepress_converters.options import ConversionOptions


@dataclass(frozen=True)
class Checkpoint:
    """A model after a step, with what the step said and the conversion as it left it."""

    model: Any
    entry: StepEntry
    conversion: ConversionOptions


def key_of(*parts: Any) -> str:
    """Return the sha256 of JSON values, in hex."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def model_fingerprint(model: Any) -> str:
    """Return a sha256 of a model's graph and weights, the same for a model however it was loaded."""
    graph = hashlib.sha256(model.to_json().encode()).hexdigest()
    return key_of(graph, sha256_of_arrays(model.get_weights()))


class Checkpoints:
    """The checkpoints in one folder (None: none are kept)."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, number: int, kind: str, key: str) -> Checkpoint | None:
        """Return the checkpoint of step ``number`` (from 1) if there is one with this key, whole."""
        if self._folder is None:
            return None
        model_path, record_path = self._paths(self._folder, number, kind, key)
        try:
            record = json.loads(record_path.read_text(encoding="utf-8"))
            if record["key"] != key or record["model_sha256"] != model_sha256(model_path):
                return None
            entry = entry_from_dict(record["entry"])
            options = record["conversion"]
            conversion = ConversionOptions(**options)
        except (OSError, ValueError, KeyError, TypeError):  # absent, cut short or of another version: made anew
            return None
        return Checkpoint(keras.models.load_model(model_path, compile=False), entry, conversion)

    def save(self, number: int, kind: str, key: str, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the record comes last, so that a half-written one is never taken for whole."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        model_path, record_path = self._paths(self._folder, number, kind, key)
        part = model_path.with_name(f".{model_path.stem}.{os.getpid()}.part.keras")
        checkpoint.model.save(part)
        record = {
            "key": key,
            "model_sha256": model_sha256(part),
            "entry": dataclasses.asdict(checkpoint.entry),
            "conversion": dataclasses.asdict(checkpoint.conversion),
        }
        part.replace(model_path)
        part = record_path.with_name(f".{record_path.stem}.{os.getpid()}.part.json")
        part.write_text(json.dumps(record, indent=2), encoding="utf-8")
        part.replace(record_path)

    @staticmethod
    def _paths(folder: Path, number: int, kind: str, key: str) -> tuple[Path, Path]:
        name = f"{number}-{kind}-{key[:16]}"
        return folder / f"{name}.keras", folder / f"{name}.json"
