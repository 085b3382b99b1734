"""Whole residual blocks are left out, those first without which the validation loss is least.

Each block is tried alone, on the model as it came in (no gradients, no training), as in layer-wise ablation of residual
networks (Veit et al. 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from edgepress.compression.graph.blocks import ResidualBlock, residual_blocks
from edgepress.compression.graph.bypass import bypass
from edgepress.compression.graph.reader import Graph, read
from edgepress.compression.graph.rebuild import NewLayer, copied, rebuild
from edgepress.compression.pruning.proof import prove
from edgepress.compression.recipe import PruneStep
from edgepress.compression.steps import Change, Skip, StepContext, StepOutcome
from edgepress.training.batchnorm import reestimate_batchnorm
from edgepress.training.evaluate import loss_of
from edgepress.training.fit import fine_tune


def prune_layers(model: Any, settings: PruneStep, context: StepContext) -> StepOutcome:
    """Leave out a share of the residual blocks, re-estimate BatchNorm and fine-tune.

    Raises:
        CompressionError: the smaller model fails its proof.
    """
    graph = read(model)
    blocks = residual_blocks(graph)
    count = round(settings.sparsity * len(blocks))
    losses = _losses_without(graph, blocks, context)
    weakest = sorted(blocks, key=lambda block: losses[block.join.name])
    removed = _apart(weakest, count)
    smaller = without_blocks(graph, removed)
    difference = prove(smaller, _with_silent_branches(graph, removed), context.seed)
    tuned = fine_tune(
        reestimate_batchnorm(smaller, context.data.train, context.seed),
        context.data,
        context.objective,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=context.seed,
        progress=context.progress,
        description="Fine-tuning the pruned model",
    )
    notes = [tuned.summary]
    if not removed:
        notes.append(f"no block was left out: {len(blocks)} residual blocks keep their shapes without their branch")
    else:
        notes.append(f"same logits as with these blocks' branches zeroed, to {difference:.1e} of the largest")
    names = {block.join.name for block in removed}
    return StepOutcome(
        tuned.model,
        context.conversion,
        tuple(_change(block, losses[block.join.name]) for block in blocks if block.join.name in names),
        tuple(
            Skip(block.join.name, f"validation loss {losses[block.join.name]:.4g} without its branch")
            for block in blocks
            if block.join.name not in names
        ),
        tuple(notes),
        choices={"blocks": sorted(names)},
        largest_difference=difference if removed else None,
    )


def without_blocks(graph: Graph, blocks: Sequence[ResidualBlock]) -> Any:
    """Return the model in which each block's entry steps in the place of its sum."""
    return rebuild(bypass(graph, {block.exit: block.entry for block in blocks}))


def _with_silent_branches(graph: Graph, blocks: Sequence[ResidualBlock]) -> Any:
    """The whole model, with what each branch says multiplied by 0."""
    replacements = {}
    for block in blocks:
        last = graph.nodes[block.last.node]
        silent = keras.layers.Rescaling(0.0, name=f"{last.name}_silent")
        replacements[last.name] = [copied(last), NewLayer(silent)]
    return rebuild(graph, replacements)


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
