"""Which steps undo what others did: said before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.compression.recipe_tables import Convert, DistillStep, FactorizeStep, PruneStep, Scale, StepSettings

# What runtimes load when zeros of Dense layers are left out of the file, by format: see docs/recipes.md.
_BLOCKS_LOADED = {
    "float32": ("1x4", "1x16"),
    "dynamic": ("1x16",),
    "int8": ("1x16",),
    "float16": (),
    "int16x8": ("1x4",),
}


def conflict(steps: Sequence[StepSettings], convert: Convert) -> str | None:
    """Return why a sequence of steps and a conversion cannot work together, None where they can.

    Only what is sure whatever the model is: the rest is said by the steps and by the conversion.
    """
    for number, step in enumerate(steps):
        for earlier_number, earlier in enumerate(steps[:number]):
            why = _undone(earlier, step)
            if why is not None:
                return f"step {number + 1} undoes step {earlier_number + 1}: {why}"
    return _unreadable(steps, convert)


def _undone(earlier: StepSettings, later: StepSettings) -> str | None:
    zeros = isinstance(earlier, PruneStep) and earlier.structure == "weights"
    if isinstance(later, DistillStep) and isinstance(later.student, str):
        return "a student from a file takes the place of the model. Leave the step before it out, or the student"
    if zeros and isinstance(later, DistillStep) and isinstance(later.student, Scale):
        return "a scaled student begins with new weights, and no zeros in them. Prune after it"
    if zeros and isinstance(later, FactorizeStep):
        return "products of small matrices have no zeros where one large matrix had them. Factorize first"
    channels = isinstance(later, PruneStep) and later.structure in ("filters", "neurons")
    if channels and isinstance(earlier, PruneStep) and earlier.block is not None:
        return "without some of their inputs, blocks of zeros are no blocks any more. Remove channels first"
    return None


def _unreadable(steps: Sequence[StepSettings], convert: Convert) -> str | None:
    if convert.sparse != "always":
        return None
    loaded = _BLOCKS_LOADED[convert.format]
    for number, step in enumerate(steps, start=1):
        if isinstance(step, PruneStep) and step.block is not None and step.block not in loaded:
            known = f"only {', '.join(loaded)}" if loaded else "none"
            return (
                f'convert.sparse = "always" with convert.format = "{convert.format}" and the blocks of step {number} '
                f"({step.block}): of blocks in Dense layers runtimes take {known}"
            )
    return None
