"""Whole residual blocks are left out, those first without which the validation loss is least.

Each block is tried alone, on the model as it came in (no gradients, no training), as in layer-wise ablation of residual
networks (Veit et al. 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks"). With
``schedule = "gradual"`` some go at a time, and the rest is tried anew after fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from edgepress.compression.graph.blocks import ResidualBlock, residual_blocks
from edgepress.compression.graph.bypass import bypass
from edgepress.compression.graph.reader import Graph, TensorRef, read
from edgepress.compression.graph.rebuild import rebuild
from edgepress.compression.pruning.keep import check_patterns, first_kept
from edgepress.compression.pruning.proof import prove
from edgepress.compression.pruning.schedule import rounds_of
from edgepress.compression.recipe import PruneStep
from edgepress.compression.recovery import recover
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.training.evaluate import loss_of


def prune_layers(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Leave out a share of the residual blocks, re-estimate BatchNorm and fine-tune.

    Raises:
        CompressionError: a pattern in ``keep`` names no layer, or a smaller model fails its proof.
    """
    whole = read(model)
    check_patterns(settings.keep, whole.layers())
    blocks = residual_blocks(whole)
    losses: dict[str, float] = {}
    changed: list[Change] = []
    notes: list[str] = []
    largest_difference = 0.0
    epochs = 0
    for one in rounds_of(settings):
        epochs += one.epochs
        count = round(one.sparsity * len(blocks)) - len(changed)
        if count > 0:
            graph = read(model)
            left = [block for block in residual_blocks(graph) if _kept_by(block, settings.keep) is None]
            losses |= _losses_without(graph, left, context)
            removed = _apart(sorted(left, key=lambda block: losses[block.join.name]), count)
            model = without_blocks(graph, removed)
            difference = prove(model, _with_silent_branches(graph, removed), context.seed, context.data.train)
            largest_difference = max(largest_difference, difference)
            changed += [_change(block, losses[block.join.name]) for block in left if block in removed]
        if changed or not one.sparsity:
            tuned = recover(model, settings, context, f"{one.label}Fine-tuning the pruned model", epochs=epochs)
            model, epochs = tuned.model, 0
            notes.append(f"{one.label}{tuned.summary}")
    if not blocks:
        notes.append("no block was left out: there is no residual block that keeps its shape without its branch")
    elif not changed:
        notes.append("no block was left out: see what was skipped and why")
    else:
        notes.append(f"same logits as with these blocks' branches zeroed, to {largest_difference:.1e} of the largest")
    names = [change.layer for change in changed]
    return StepOutcome(
        model,
        context.conversion,
        tuple(changed),
        tuple(Skip(block.join.name, _why(block, settings, losses)) for block in blocks if block.join.name not in names),
        tuple(notes),
        choices={"blocks": sorted(names)},
        largest_difference=largest_difference if changed else None,
    )


def without_blocks(graph: Graph, blocks: Sequence[ResidualBlock]) -> Any:
    """Return the model in which each block's entry steps in the place of its sum."""
    return rebuild(bypass(graph, {block.exit: block.entry for block in blocks}))


def _kept_by(block: ResidualBlock, keep: Sequence[str]) -> str | None:
    return first_kept(keep, [block.join.name, *(node.name for node in block.branch)])


def _why(block: ResidualBlock, settings: PruneStep, losses: dict[str, float]) -> str:
    """Why a block stays."""
    kept = _kept_by(block, settings.keep)
    if kept is not None:
        return f"keep leaves {kept} alone"
    if block.join.name not in losses:
        return f"{settings.sparsity:.0%} of the blocks is none"
    return f"validation loss {losses[block.join.name]:.4g} without its branch"


def _with_silent_branches(graph: Graph, blocks: Sequence[ResidualBlock]) -> Any:
    """The whole model, with what each branch says multiplied by 0."""
    silenced = {block.last for block in blocks}

    def silent(ref: TensorRef, tensor: Any) -> Any:
        if ref not in silenced:
            return tensor
        return keras.layers.Rescaling(0.0, name=f"{graph.nodes[ref.node].name}_silent")(tensor)

    return rebuild(graph, after=silent)


def _losses_without(graph: Graph, blocks: Sequence[ResidualBlock], context: StepContext) -> dict[str, float]:
    """The validation loss without each block alone, by name of its sum."""
    losses = {}
    with context.progress.task("Trying the blocks", total=len(blocks)) as task:
        for number, block in enumerate(blocks, start=1):
            losses[block.join.name] = loss_of(without_blocks(graph, [block]), context.data.val, context.objective)
            task.update(number, len(blocks), block.join.name)
    return losses


def _apart(weakest: Sequence[ResidualBlock], count: int) -> list[ResidualBlock]:
    """The first ``count`` blocks, of which none is inside of another's branch."""
    chosen: list[ResidualBlock] = []
    for block in weakest:
        if len(chosen) == count:
            break
        inside = {node.index for other in chosen for node in other.branch}
        around = {node.index for node in block.branch} & {other.join.index for other in chosen}
        if block.join.index not in inside and not around:
            chosen.append(block)
    return chosen


def _change(block: ResidualBlock, loss: float) -> Change:
    layers = ", ".join(node.name for node in block.branch)
    return Change(block.join.name, f"left out with its branch ({layers}); validation loss without it alone {loss:.4g}")
