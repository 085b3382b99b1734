"""The language of recipes: TOML in, validated values out. Nothing here needs TensorFlow."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgepress.errors import NotBuiltYetError, RecipeError
from edgepress.models import model_sha256
from edgepress_converters.options import ConversionOptions
from edgepress_converters.options import Format as ConversionFormat

Fraction = Annotated[float, Field(gt=0, lt=1)]
Epochs = Annotated[int, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0)]


def _check_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w .+=@-]{0,79}", name):
        raise ValueError(
            f"{name!r} is no name: folders are called by it, so it begins with a letter, a digit or _, goes on with "
            "these, spaces and .+=@-, and has at most 80 characters"
        )
    return name


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class PruneStep(_Table):
    """Remove what matters least.

    Attributes:
        structure: single weights (set to zero), neurons of Dense layers, filters of convolutions, or whole layers.
        sparsity: the share to remove.
        schedule: all at once, or gradually while training.
        scope: the share in each layer or group (local), or over all of them (global).
        importance: of ``filters`` and ``neurons``: what they are ranked by.
        round_to: of ``filters`` and ``neurons``: what is kept is a multiple of this, as kernels like it.
        keep: of ``filters`` and ``neurons``: patterns of names of layers to leave alone.
        epochs, learning_rate: of the fine-tuning after it; no learning rate: the compiled one.
    """

    kind: Literal["prune"]
    structure: Literal["weights", "neurons", "filters", "layers"]
    sparsity: Fraction
    schedule: Literal["one-shot", "gradual"] = "one-shot"
    scope: Literal["local", "global"] | None = None
    importance: Literal["l1", "l2", "batchnorm-scale", "geometric-median", "taylor"] | None = None
    round_to: Annotated[int, Field(ge=1)] | None = None
    keep: tuple[str, ...] = Field(default=(), strict=False)
    epochs: Epochs = 5
    learning_rate: LearningRate | None = None

    @model_validator(mode="after")
    def _options_fit_the_structure(self) -> Self:
        channels = self.structure in ("filters", "neurons")
        for key in ("importance", "round_to", "keep"):
            if getattr(self, key) and not channels:
                raise ValueError(f'{key} goes with structure = "filters" or "neurons", not with "{self.structure}"')
        if self.scope is not None and self.structure == "layers":
            raise ValueError('scope goes with weights, filters and neurons, not with structure = "layers"')
        if self.structure != "layers":
            object.__setattr__(self, "scope", self.scope or "local")
        if channels:
            object.__setattr__(self, "importance", self.importance or "l2")
            object.__setattr__(self, "round_to", self.round_to or 8)
        return self


class Rank(_Table):
    """How many singular values a factorized layer keeps. Exactly one of these.

    Attributes:
        energy: as many as hold this share of the squared singular values.
        ratio: so many that this share of the layer's weights remains.
        fixed: this many.
        evbmf: as many as stand out of noise (empirical variational Bayes).
    """

    energy: Fraction | None = None
    ratio: Fraction | None = None
    fixed: Annotated[int, Field(ge=1)] | None = None
    evbmf: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = sorted(self.model_dump(exclude_none=True))
        if len(given) != 1:
            raise ValueError(
                f"exactly one of energy, ratio, fixed and evbmf is wanted, got {' and '.join(given) or 'none'}"
            )
        return self


class FactorizeStep(_Table):
    """Put two small layers in place of a large one.

    Attributes:
        method: SVD of Dense layers; of convolutions: spatial SVD, Tucker-2 or CP.
        epochs, learning_rate: of the fine-tuning after it.
    """

    kind: Literal["factorize"]
    method: Literal["svd", "spatial-svd", "tucker2", "cp"] = "svd"
    rank: Rank = Rank(energy=0.95)
    epochs: Epochs = 5
    learning_rate: LearningRate | None = None


class Width(_Table):
    """A student like its teacher but for the number of filters and units, each times ``width``."""

    width: Annotated[float, Field(gt=0, le=1)]


class DistillStep(_Table):
    """Train a student on what a teacher answers.

    Attributes:
        signal: the teacher's outputs, its features, or relations between samples.
        teacher: a .keras file, relative to the recipe's own folder; left out: the model as it came in.
        student: a width, or a .keras file; left out: the model as the steps before left it.
        epochs, learning_rate: of the training.
        temperature: softens the teacher's probabilities (Hinton et al. 2015).
        alpha: share of the teacher's signal in the loss; the labels have the rest.
    """

    kind: Literal["distill"]
    signal: Literal["response", "feature", "relation"] = "response"
    teacher: str | None = None
    student: Width | str | None = None
    epochs: Annotated[int, Field(ge=1)] = 20
    learning_rate: LearningRate | None = None
    temperature: Annotated[float, Field(gt=0)] = 4.0
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5


class QuantizeStep(_Table):
    """Prepare the model for integers by training. Post-training quantization needs no step."""

    kind: Literal["quantize"]
    method: Literal["qat", "ladder"]


class Convert(_Table):
    """How the model becomes a TFLite file: :class:`edgepress_converters.options.ConversionOptions`, same words."""

    format: ConversionFormat = "float32"
    io: Literal["float32", "int8"] = "int8"
    backend: Literal["tflite", "ai-edge-quantizer"] = "tflite"
    calibration: Literal["minmax", "percentile", "mse"] = "minmax"
    calibration_samples: Annotated[int, Field(ge=1)] = 200
    allow_float: tuple[str, ...] = Field(default=(), strict=False)


StepSettings = PruneStep | FactorizeStep | DistillStep | QuantizeStep


class Recipe(_Table):
    """What to do with a model, in order.

    Attributes:
        name: what the table and folders call it.
        description: one sentence.
        step: the compression steps, in order (TOML: ``[[step]]``); none: conversion only.
        convert: how the result becomes a TFLite file (TOML: ``[convert]``).
    """

    name: Annotated[str, AfterValidator(_check_name)]
    description: str = ""
    step: tuple[Annotated[StepSettings, Field(discriminator="kind")], ...] = Field(default=(), strict=False)
    convert: Convert = Convert()

    @property
    def conversion(self) -> ConversionOptions:
        """What the converter is asked for, before the steps add to it."""
        return ConversionOptions(**self.convert.model_dump())


_STEPS: dict[str, type[_Table]] = {
    "prune": PruneStep,
    "factorize": FactorizeStep,
    "distill": DistillStep,
    "quantize": QuantizeStep,
}

# Words that are part of the language and have no implementation yet: key -> values.
_NOT_BUILT: dict[tuple[str, str], tuple[str, ...]] = {
    ("prune", "schedule"): ("gradual",),
    ("factorize", "method"): ("spatial-svd", "tucker2", "cp"),
    ("distill", "signal"): ("feature", "relation"),
    ("quantize", "method"): ("qat", "ladder"),
    ("convert", "backend"): ("ai-edge-quantizer",),
    ("convert", "calibration"): ("percentile", "mse"),
}


def load_recipe(name_or_path: str) -> Recipe:
    """Return a recipe that ships with edgepress, by name, or one from a TOML file.

    Paths of models in a file are taken relative to the file's folder.

    Raises:
        RecipeError: no such recipe, or one that is not valid: the message names file, key, what was given and what is
            allowed.
        NotBuiltYetError: a word that a later version of edgepress will know.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        near = difflib.get_close_matches(name_or_path, shipped, n=1)
        guess = f" (did you mean {near[0]}?)" if near else ""
        raise RecipeError(
            f"there is no recipe {name_or_path!r}{guess}: give a TOML file or one of {', '.join(sorted(shipped))}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as text: {error}") from error
    return _with_files_from(path, parse_recipe(text, source=str(path), default_name=path.stem))


@cache
def shipped_recipes() -> Mapping[str, Recipe]:
    """Return the recipes that ship with edgepress, by name."""
    folder = resources.files("edgepress.compression") / "recipes"
    recipes = (
        parse_recipe(entry.read_text(encoding="utf-8"), source=entry.name, default_name=Path(entry.name).stem)
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    )
    return {recipe.name: recipe for recipe in recipes}


def recipe_text(name_or_path: str) -> str:
    """Return the TOML of a recipe as it was written: one that ships with edgepress, by name, or a file.

    Raises:
        RecipeError, NotBuiltYetError: as :func:`load_recipe`.
    """
    load_recipe(name_or_path)
    if name_or_path in shipped_recipes():
        return (resources.files("edgepress.compression") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    return Path(name_or_path).read_text(encoding="utf-8")


def identity_of(settings: StepSettings) -> dict[str, Any]:
    """Return a step's settings as JSON values, with the contents of files (as hashes) in place of their paths."""
    values = settings.model_dump(mode="json")
    if isinstance(settings, DistillStep):
        for key in ("teacher", "student"):
            if isinstance(values[key], str):
                values[key] = model_sha256(Path(values[key]))
    return values


def parse_recipe(text: str, *, source: str, default_name: str) -> Recipe:
    """Return the recipe that TOML text describes.

    Args:
        source: what error messages call the text.
        default_name: the recipe's name if it gives none.

    Raises:
        RecipeError, NotBuiltYetError: as :func:`load_recipe`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source} is not valid TOML: {error}") from error
    try:
        recipe = Recipe.model_validate({"name": default_name, **table})
    except ValidationError as error:
        problems = "\n  ".join(_explain(problem) for problem in error.errors())
        raise RecipeError(f"{source} is not a valid recipe:\n  {problems}") from error
    _check_built(recipe, source)
    return recipe


def recipe_id(resolved: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the sha256 of a resolved recipe's canonical JSON."""
    canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _with_files_from(path: Path, recipe: Recipe) -> Recipe:
    """The recipe with the models that it names as paths that can be opened."""

    def located(number: int, step: StepSettings) -> StepSettings:
        files = {}
        for key in ("teacher", "student") if isinstance(step, DistillStep) else ():
            value = getattr(step, key)
            if isinstance(value, str):
                files[key] = str(path.resolve().parent / value)
                if not Path(files[key]).is_file():
                    raise RecipeError(f"{path}: step.{number}.{key}: there is no file {files[key]}")
        return step.model_copy(update=files)

    return recipe.model_copy(
        update={"step": tuple(located(number, step) for number, step in enumerate(recipe.step, start=1))}
    )


def _check_built(recipe: Recipe, source: str) -> None:
    tables: list[tuple[str, str, _Table]] = [
        (f"step {number}", step.kind, step) for number, step in enumerate(recipe.step, start=1)
    ]
    tables.append(("convert", "convert", recipe.convert))
    for place, kind, table in tables:
        for (of_kind, key), words in _NOT_BUILT.items():
            if of_kind == kind and getattr(table, key) in words:
                built = [word for word in _words(type(table), key) if word not in words]
                instead = f"; built are: {', '.join(built)}" if built else ""
                raise NotBuiltYetError(f'{source}: {place}: {key} = "{getattr(table, key)}" is not built yet{instead}')
        if isinstance(table, FactorizeStep) and table.rank.evbmf:
            raise NotBuiltYetError(f"{source}: {place}: rank.evbmf is not built yet; built are: energy, ratio, fixed")


def _words(table: type[_Table], key: str) -> tuple[str, ...]:
    annotation: Any = table.model_fields[key].annotation
    return tuple(annotation.__args__)


def _explain(problem: Any) -> str:
    """One line for one problem: where, what was given, what is allowed."""
    location = tuple(problem["loc"])
    place = ".".join(_readable(location)) or "the recipe"
    given = problem["input"]
    kind = problem["type"]
    if kind == "extra_forbidden":
        allowed = _keys_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        return f"{place}: unknown key{guess}; known are: {', '.join(allowed)}"
    if kind == "missing":
        return f"{place}: this key is missing"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        found = given.get("kind") if isinstance(given, dict) else given
        return f"{place}: kind is {found!r}; allowed are: {', '.join(_STEPS)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return f"{place}: {message}"
    return f"{place}: given {given!r}; {message[0].lower()}{message[1:]}"


def _readable(location: tuple[Any, ...]) -> Iterator[str]:
    """A key path as a reader of TOML counts: steps from 1, no name of our classes or of the kind in between."""
    for index, part in enumerate(location):
        before = location[index - 1] if index else None
        if isinstance(part, int) and before == "step":
            yield str(part + 1)
        elif not (isinstance(before, int) and part in _STEPS) and part not in ("Width", "str"):
            yield str(part)


def _keys_at(location: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys known in the table at a place."""
    kinds = [part for part in location if part in _STEPS]
    table: type[BaseModel] = _STEPS[kinds[0]] if kinds else Recipe
    if location and location[-1] == "convert":
        table = Convert
    elif location and location[-1] == "rank":
        table = Rank
    elif "Width" in location:
        table = Width
    return tuple(table.model_fields)
