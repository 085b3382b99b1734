"""Run a recipe's steps over a model."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgepress.compression.checkpoints import Checkpoint, Checkpoints, key_of, model_fingerprint
from edgepress.compression.distillation.step import check_files, distill, guidance_of
from edgepress.compression.factorization.step import factorize
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.pruning.keep import check_patterns, first_kept
from edgepress.compression.pruning.layers import prune_layers
from edgepress.compression.pruning.removal import prune_channels
from edgepress.compression.pruning.weights import prune_weights
from edgepress.compression.quantization.annotate import conversion_of
from edgepress.compression.quantization.ladder import climb_ladder
from edgepress.compression.quantization.preparation import unlike_training
from edgepress.compression.quantization.qat import quantize_aware, set_ranges_in_model
from edgepress.compression.recipe import (
    DistillStep,
    FactorizeStep,
    PruneStep,
    Recipe,
    StepSettings,
    asks_the_device,
    identity_of,
    recipe_id,
)
from edgepress.compression.recovery import learning_rate_of
from edgepress.compression.report import CompressionReport
from edgepress.compression.steps import Judge, Step, StepContext, StepEntry, channel_multiple
from edgepress.data import InputSpec, TrainingData
from edgepress.data.fingerprint import sha256_of_arrays
from edgepress.errors import CompressionError
from edgepress.progress import Progress, Silent
from edgepress.training.classes import scores_by_class
from edgepress.training.cost import Cost, cost_of
from edgepress.training.evaluate import predict
from edgepress.training.metrics import metric_named
from edgepress.training.objective import Objective
from edgepress_converters.options import CALIBRATED_FORMATS, ConversionOptions
from edgepress_converters.pool import WorkerPool

# (kind, its word) -> the step; the word is ``structure`` or ``method``, empty where there is one implementation.
STEPS: dict[tuple[str, str], Step] = {
    ("prune", "weights"): prune_weights,
    ("prune", "filters"): prune_channels,
    ("prune", "neurons"): prune_channels,
    ("prune", "layers"): prune_layers,
    ("factorize", "svd"): factorize,
    ("factorize", "spatial-svd"): factorize,
    ("factorize", "tucker2"): factorize,
    ("factorize", "cp"): factorize,
    ("quantize", "ptq"): set_ranges_in_model,
    ("quantize", "qat"): quantize_aware,
    ("quantize", "ladder"): climb_ladder,
    ("distill", ""): distill,
}
_CHECKPOINT_VERSION = 6  # raise it when a step computes or records something else from the same settings


@dataclass(frozen=True)
class Compressed:
    """What compression gives.

    Attributes:
        model: the Keras model, compiled like the one that came in, where that one was.
        conversion: how it is to be converted: the recipe's options with what the steps added.
        report: what was done, skipped and measured.
    """

    model: Any
    conversion: ConversionOptions
    report: CompressionReport


@dataclass(frozen=True)
class _State:
    """A model with what was measured of it."""

    model: Any
    cost: Cost
    metric: float


def compress(
    model: Any,
    recipe: Recipe,
    data: TrainingData,
    objective: Objective,
    *,
    judge: Judge | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
    pool: WorkerPool | None = None,
) -> Compressed:
    """Run a recipe's steps, in order. The model that came in is not changed.

    Args:
        judge: asks the board, for steps that choose by measurement.
        checkpoints: a folder for the model after each step; a call with the same model, data, objective and seed takes
            over from there the first steps that have the same settings.
        pool: makes and runs the files of steps that are judged by these.

    Raises:
        ModelError: the model is no functional or Sequential model.
        CompressionError: a step could not do its work, or a model answers NaN.
    """
    progress = progress or Silent()
    context = StepContext(
        data,
        objective,
        model,
        conversion_of(model, recipe.conversion),
        judge=judge,
        seed=seed,
        progress=progress,
        answers=checkpoints / "answers" if checkpoints is not None else None,
        pool=pool,
    )
    _check_names(recipe, model)
    store = Checkpoints(checkpoints)
    key = key_of(_CHECKPOINT_VERSION, _origin(context, keep=checkpoints is not None))
    first = state = _measured(model, context, "as it came in")
    unlike = unlike_training(model, data.train.inputs) if recipe.convert.format in CALIBRATED_FORMATS else None
    said = [note for note in (unlike, _frozen(recipe, model)) if note is not None]
    for note in said:
        progress.note(note)
    entries: list[StepEntry] = []
    left_out: set[str] = set()
    for number, settings in enumerate(recipe.step, start=1):
        teaching = _teaching(recipe.step[number:])
        asked = judge.device if judge is not None and asks_the_device(settings) else None
        key = key_of(key, identity_of(settings), asked, teaching and identity_of(teaching))
        guidance = cache(partial(guidance_of, teaching, context, model)) if teaching else None
        context = dataclasses.replace(context, guidance=guidance)
        checkpoint = store.load(number, settings.kind, key)
        before = state.model
        if checkpoint is None:
            checkpoint, state = _run(state, settings, context, left_out)
            store.save(number, settings.kind, key, checkpoint)
        else:
            progress.note(f"step {number} ({settings.kind}) was done before and is taken over")
            state = _as_recorded(checkpoint)
        context = dataclasses.replace(context, conversion=checkpoint.conversion)
        entries.append(checkpoint.entry)
        if isinstance(settings, PruneStep) and settings.structure == "layers":
            left_out |= read(before).layers().keys() - read(state.model).layers().keys()
    resolved = _resolve(data.input_spec, entries, context.conversion)
    report = CompressionReport(
        recipe_name=recipe.name,
        recipe=resolved,
        recipe_id=recipe_id(resolved),
        entries=tuple(entries),
        metric=objective.metric,
        metric_before=first.metric,
        metric_after=state.metric,
        parameters_before=first.cost.parameters,
        parameters_after=state.cost.parameters,
        weight_bytes_before=first.cost.weight_bytes,
        weight_bytes_after=state.cost.weight_bytes,
        macs_before=first.cost.macs,
        macs_after=state.cost.macs,
        peak_activation_bytes_before=first.cost.peak_activation_bytes,
        peak_activation_bytes_after=state.cost.peak_activation_bytes,
        seed=seed,
        notes=(*said, *_notes(state.cost)),
        classes=scores_by_class(
            predict(state.model, data.val.inputs), data.val.targets, objective.output_kinds, data.input_spec.labels
        ),
    )
    return Compressed(_compiled_like(model, copy_of(state.model)), context.conversion, report)


def with_conversion(compressed: Compressed, conversion: ConversionOptions, why: str) -> Compressed:
    """Return what compression gave, with a conversion that only files could choose, and a sentence that says why."""
    recipe = {**compressed.report.recipe, "convert": _as_json(conversion)}
    report = dataclasses.replace(
        compressed.report, recipe=recipe, recipe_id=recipe_id(recipe), notes=(*compressed.report.notes, why)
    )
    return Compressed(compressed.model, conversion, report)


def _check_names(recipe: Recipe, model: Any) -> None:
    """Find a wrong file, or a pattern that means no layer, now and not after the training of the steps before."""
    names: Collection[str] | None = read(model).layers()
    for settings in recipe.step:
        if names is not None and isinstance(settings, PruneStep | FactorizeStep):
            check_patterns(settings.keep, names)
        if isinstance(settings, DistillStep):
            check_files(settings, model)
        if isinstance(settings, FactorizeStep) or getattr(settings, "student", None) is not None:
            names = None  # only the step knows what it calls its layers


def _frozen(recipe: Recipe, model: Any) -> str | None:
    """A sentence on layers that lose something and cannot learn to do without it, such as a pretrained backbone's."""
    if not any(isinstance(settings, PruneStep | FactorizeStep) for settings in recipe.step):
        return None
    layers = {name: layer for name, layer in read(model).layers().items() if layer.weights}
    frozen = [name for name, layer in layers.items() if not layer.trainable]
    if not frozen:
        return None
    return (
        f"{len(frozen)} of {len(layers)} layers with weights are frozen (trainable = False), the first is {frozen[0]}: "
        "neither fitting nor training makes up for what these lose. Where they may learn, set trainable = True, "
        "compile and save the model again"
    )


def _teaching(following: Sequence[StepSettings]) -> DistillStep | None:
    """The distill step, among those that follow, that will go on to train the model as these leave it."""
    step = next((step for step in following if isinstance(step, DistillStep)), None)
    return step if step is not None and step.student is None and not step.mutual else None


def _run(
    before: _State, settings: StepSettings, context: StepContext, left_out: Collection[str]
) -> tuple[Checkpoint, _State]:
    """Run one step and measure around it.

    Args:
        left_out: layers that are gone since earlier steps left blocks out: to keep them is no mistake.
    """
    started = time.monotonic()
    given, idle = _without_idle_patterns(settings, before.model, left_out)
    outcome = STEPS[settings.kind, _word(settings)](before.model, given, context)
    duration_s = time.monotonic() - started
    after = _measured(outcome.model, context, f"after the step {settings.kind}")
    rate = {"learning_rate": learning_rate_of(settings, context.objective)} if settings.epochs else {}
    entry = StepEntry(
        kind=settings.kind,
        settings={**settings.model_dump(mode="json", exclude_none=True), **rate, **outcome.choices},
        changed=outcome.changed,
        skipped=outcome.skipped,
        parameters_before=before.cost.parameters,
        parameters_after=after.cost.parameters,
        macs_before=before.cost.macs,
        macs_after=after.cost.macs,
        metric_before=before.metric,
        metric_after=after.metric,
        duration_s=duration_s,
        notes=(*outcome.notes, *(f"keep: {one!r} means layers that an earlier step left out" for one in idle)),
        largest_difference=outcome.largest_difference,
    )
    return Checkpoint(outcome.model, entry, outcome.conversion), after


def _without_idle_patterns(
    settings: StepSettings, model: Any, left_out: Collection[str]
) -> tuple[StepSettings, tuple[str, ...]]:
    """Settings without the patterns of ``keep`` that mean nothing but layers that were left out, and these patterns."""
    if not left_out or not isinstance(settings, PruneStep | FactorizeStep):
        return settings, ()
    names = read(model).layers()
    idle = tuple(one for one in settings.keep if first_kept([one], left_out) and not first_kept([one], names))
    return settings.model_copy(update={"keep": tuple(one for one in settings.keep if one not in idle)}), idle


def _word(settings: StepSettings) -> str:
    """The word by which a kind's implementations differ."""
    return str(getattr(settings, "structure", getattr(settings, "method", "")))


def _measured(model: Any, context: StepContext, when: str) -> _State:
    metric = metric_named(context.objective.metric)
    val = context.data.val
    outputs = predict(model, val.inputs)
    value = metric.compute(outputs, val.targets)
    if not math.isfinite(value) or any(np.isnan(output).any() for output in outputs):
        raise CompressionError(
            f"the model {when} answers NaN or infinity on the validation data ({metric.name} {value}): look for such "
            "weights in it, and for inputs of another scale than it was trained on"
        )
    return _State(model, cost_of(model), value)


def _as_recorded(checkpoint: Checkpoint) -> _State:
    return _State(checkpoint.model, cost_of(checkpoint.model), checkpoint.entry.metric_after)


def _origin(context: StepContext, keep: bool) -> dict[str, Any]:
    """What a checkpoint depends on beside the steps' settings; empty where none are kept, since it reads all data."""
    if not keep:
        return {}
    import tensorflow

    splits = (context.data.train, context.data.val)
    return {
        "model": model_fingerprint(context.original),
        "data": sha256_of_arrays(array for split in splits for array in (*split.inputs, *split.targets)),
        "objective": context.objective.as_dict(),
        "optimizer": str(context.objective.optimizer),  # with its momentum and the like
        "conversion": dataclasses.asdict(context.conversion),
        "channel_multiple": channel_multiple(context.judge, context.conversion.format),
        "seed": context.seed,
        "versions": [keras.__version__, tensorflow.__version__],
    }


def _resolve(spec: InputSpec, entries: list[StepEntry], conversion: ConversionOptions) -> dict[str, Any]:
    """The recipe with every default and every choice filled in, as JSON values."""
    return {
        "input": {
            "shapes": [list(shape) for shape in spec.shapes],
            "dtypes": list(spec.dtypes),
            "color": spec.color,
            "mean": list(spec.mean),
            "scale": list(spec.scale),
        },
        "steps": [entry.settings for entry in entries],
        "convert": _as_json(conversion),
    }


def _as_json(conversion: ConversionOptions) -> dict[str, Any]:
    values = dataclasses.asdict(conversion)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _notes(cost: Cost) -> tuple[str, ...]:
    notes = []
    if cost.uncounted:
        notes.append(f"MACs of these layers are not counted: {', '.join(cost.uncounted)}")
    if cost.has_open_sizes:
        notes.append("the model leaves sizes of its input open: MACs and activation memory count them as 1")
    return tuple(notes)


def _compiled_like(original: Any, model: Any) -> Any:
    """Compile a model as the original was, so that a saved one can be trained and judged without more words."""
    if not original.compiled:
        return model
    try:
        model.compile_from_config(original.get_compile_config())
    except (ValueError, TypeError):  # a lambda as loss, say: what no file can hold. The model is left uncompiled.
        return copy_of(model)
    return model
