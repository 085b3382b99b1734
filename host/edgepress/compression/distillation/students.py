"""Students: where the model that learns comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.compression.distillation.depth import with_depth
from edgepress.compression.graph.channels import channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import untrained
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.removal import changes_between, counts_of, kept_count, removable_groups
from edgepress.compression.pruning.surgery import untrained_without
from edgepress.compression.recipe import Scale
from edgepress.compression.steps import Change, Skip
from edgepress.errors import CompressionError
from edgepress.training.seeds import seeded

_ROUND_TO = 8


def scaled(model: Any, scale: Scale, seed: int) -> tuple[Any, tuple[Change, ...], tuple[Skip, ...]]:
    """Return an untrained model like ``model``, shallower and narrower; what was changed, and what could not be.

    Depth: of residual blocks and layers that give what they were given in shape, the last ones are left out, so that of
    each shape a share of ``depth`` remains, the one that made it included. Width: of the channels that pruning could
    remove, wherever they go, a share stays, in multiples of 8 (at least 4).

    Raises:
        CompressionError: nothing can be left out.
    """
    graph = read(model)
    changed: tuple[Change, ...] = ()
    skipped: tuple[Skip, ...] = ()
    if scale.depth < 1:
        graph, left_out = with_depth(graph, scale.depth)
        changed = tuple(Change(name, "left out") for name in left_out)
    with seeded(seed):
        student = untrained(graph)
        if scale.width < 1:
            channels = channels_of(read(student), rule_for)
            found = [removable_groups(channels, structure) for structure in ("filters", "neurons")]
            groups = [group for of_structure, _ in found for group in of_structure]
            skipped = tuple(skip for _, of_structure in found for skip in of_structure)
            removed = [
                group.atoms[kept_count(len(group.atoms), 1 - scale.width, group.multiple(_ROUND_TO)) :]
                for group in groups
            ]
            if not sum(map(len, removed)):
                raise CompressionError(
                    f"this model cannot be scaled to a width of {scale.width:g}: "
                    + ("; ".join(f"{skip.layer}: {skip.why}" for skip in skipped[:3]) or "its layers are too narrow")
                    + '. Give a student of your own, student = "small.keras"'
                )
            before = counts_of(channels)
            student = untrained_without(channels, np.concatenate(removed))
            narrower, _ = changes_between(before, channels_of(read(student), rule_for))
            changed += narrower
    return student, changed, skipped
