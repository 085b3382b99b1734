"""What compression did, for people and for machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepress.compression.steps import Change, Skip, StepEntry
from edgepress.training.classes import ClassScores


@dataclass(frozen=True)
class CompressionReport:
    """What happened to a model, step by step.

    Attributes:
        recipe_name: what the recipe is called.
        recipe: the resolved recipe: input, steps and conversion with every default and every choice filled in.
        recipe_id: 12 hex digits, from ``recipe``.
        entries: one for each step, in order.
        metric: what ``metric_before`` and ``metric_after`` are: the objective's, on the validation split.
        parameters_before, parameters_after: number of weights of the model as it came in and as it goes out.
        weight_bytes_before, weight_bytes_after: of these in the Keras model; a file is smaller where it is quantized.
        macs_before, macs_after: multiply-accumulates of one inference.
        peak_activation_bytes_before, peak_activation_bytes_after: of one sample in float32, from the graph: see
            :func:`~edgepress.compression.graph.liveness.peak_activation_bytes`.
        seed: of every random choice.
        notes: sentences a user should read.
        classes: precision, recall and F1 of each class, of the model as it goes out, on the validation split.
    """

    recipe_name: str
    recipe: dict[str, Any]
    recipe_id: str
    entries: tuple[StepEntry, ...]
    metric: str
    metric_before: float
    metric_after: float
    parameters_before: int
    parameters_after: int
    weight_bytes_before: int
    weight_bytes_after: int
    macs_before: int
    macs_after: int
    peak_activation_bytes_before: int
    peak_activation_bytes_after: int
    seed: int
    notes: tuple[str, ...] = ()
    classes: tuple[ClassScores, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)


def entry_from_dict(values: Mapping[str, Any]) -> StepEntry:
    """Return the entry that ``dataclasses.asdict`` made these values from."""
    return StepEntry(
        **{
            **values,
            "changed": tuple(Change(**change) for change in values["changed"]),
            "skipped": tuple(Skip(**skip) for skip in values["skipped"]),
            "notes": tuple(values["notes"]),
        }
    )
