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
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from edgepress.compression.order import conflict
from edgepress.compression.recipe_tables import (
    Convert,
    DistillStep,
    FactorizeStep,
    Input,
    PruneStep,
    QuantizeStep,
    Rank,
    Scale,
    StepSettings,
    Table,
)
from edgepress.data.pictures import Pictures
from edgepress.errors import RecipeError
from edgepress.models import model_sha256
from edgepress_converters.options import ConversionOptions

__all__ = [
    "Convert",
    "DistillStep",
    "FactorizeStep",
    "Input",
    "PruneStep",
    "QuantizeStep",
    "Rank",
    "Recipe",
    "Scale",
    "StepSettings",
    "asks_the_device",
    "identity_of",
    "load_recipe",
    "parse_recipe",
    "recipe_id",
    "recipe_text",
    "shipped_recipes",
]


def _check_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w .+=@-]{0,79}", name):
        raise ValueError(
            f"{name!r} is no name: folders are called by it, so it begins with a letter, a digit or _, goes on with "
            "these, spaces and .+=@-, and has at most 80 characters"
        )
    return name


class Recipe(Table):
    """What to do with a model, in order.

    Attributes:
        name: what the table and folders call it.
        description: one sentence.
        input: what the model's pictures are, where the data do not say it (TOML: ``[input]``).
        step: the compression steps, in order (TOML: ``[[step]]``); none: conversion only.
        convert: how the result becomes a TFLite file (TOML: ``[convert]``).
    """

    name: Annotated[str, AfterValidator(_check_name)]
    description: str = ""
    input: Input | None = None
    step: tuple[Annotated[StepSettings, Field(discriminator="kind")], ...] = Field(default=(), strict=False)
    convert: Convert = Convert()

    @model_validator(mode="after")
    def _sparse_is_decided(self) -> Self:
        if self.convert.sparse is None:
            in_blocks = any(isinstance(step, PruneStep) and step.block for step in self.step)
            convert = self.convert.model_copy(update={"sparse": "if-faster" if in_blocks else "never"})
            object.__setattr__(self, "convert", convert)
        return self

    @model_validator(mode="after")
    def _ranges_come_last(self) -> Self:
        """Other rules than the converter's own for ranges are a step, which a recipe need not write down."""
        kinds = [step.kind for step in self.step]
        convert = self.convert
        if "quantize" not in kinds:
            if convert.calibration == "minmax":
                return self
            object.__setattr__(self, "step", (*self.step, QuantizeStep(kind="quantize", method="ptq")))
            kinds.append("quantize")
        if (convert.format, convert.backend) != ("int8", "tflite"):
            raise ValueError(
                'a step of kind "quantize", and any calibration but "minmax", goes with convert.format = "int8" and '
                f'convert.backend = "tflite"; they are "{convert.format}" and "{convert.backend}"'
            )
        behind = self.step[kinds.index("quantize") + 1 :]
        if any(not isinstance(step, DistillStep) or step.student is not None for step in behind):
            raise ValueError(
                'a step of kind "quantize" comes last: only a distill step without a student of its own may follow'
            )
        return self

    @model_validator(mode="after")
    def _steps_go_together(self) -> Self:
        why = conflict(self.step, self.convert)
        if why is not None:
            raise ValueError(why)
        return self

    @property
    def asks_the_device(self) -> bool:
        """Whether something in it is chosen by what a device measures."""
        return self.convert.sparse == "if-faster" or any(asks_the_device(step) for step in self.step)

    @property
    def files(self) -> tuple[str, ...]:
        """The models that its steps read, as it names them."""
        steps = [step for step in self.step if isinstance(step, DistillStep)]
        students = [step.student for step in steps if isinstance(step.student, str)]
        return (*(name for step in steps for name in step.teacher), *students)

    @property
    def pictures(self) -> Pictures | None:
        """What ``[input]`` says; None where there is no such table."""
        return None if self.input is None else Pictures(**self.input.model_dump())

    @property
    def conversion(self) -> ConversionOptions:
        """What the converter is asked for, before steps and devices decide the rest."""
        return ConversionOptions(**{**self.convert.model_dump(), "sparse": self.convert.sparse == "always"})


_STEPS: dict[str, type[Table]] = {
    "prune": PruneStep,
    "factorize": FactorizeStep,
    "distill": DistillStep,
    "quantize": QuantizeStep,
}


def load_recipe(name_or_path: str) -> Recipe:
    """Return a recipe that ships with edgepress, by name, or one from a TOML file.

    Paths of models in a file are taken relative to the file's folder.

    Raises:
        RecipeError: no such recipe, or one that is not valid: the message names file, key, what was given and what is
            allowed.
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
        RecipeError: as :func:`load_recipe`.
    """
    load_recipe(name_or_path)
    if name_or_path in shipped_recipes():
        return (resources.files("edgepress.compression") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    return Path(name_or_path).read_text(encoding="utf-8")


def asks_the_device(settings: StepSettings) -> bool:
    """Whether a step chooses by what a device measures."""
    return isinstance(settings, FactorizeStep) and settings.rank.faster is True


def identity_of(settings: StepSettings) -> dict[str, Any]:
    """Return a step's settings as JSON values, with the contents of files (as hashes) in place of their paths."""
    values = settings.model_dump(mode="json")
    if isinstance(settings, DistillStep):
        values["teacher"] = [model_sha256(Path(name)) for name in values["teacher"]]
        if isinstance(values["student"], str):
            values["student"] = model_sha256(Path(values["student"]))
    return values


def parse_recipe(text: str, *, source: str, default_name: str) -> Recipe:
    """Return the recipe that TOML text describes.

    Args:
        source: what error messages call the text.
        default_name: the recipe's name if it gives none.

    Raises:
        RecipeError: as :func:`load_recipe`.
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
    return recipe


def recipe_id(resolved: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the sha256 of a resolved recipe's canonical JSON."""
    canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _with_files_from(path: Path, recipe: Recipe) -> Recipe:
    """The recipe with the models that it names as paths that can be opened."""

    def located(place: str, name: str) -> str:
        found = path.resolve().parent / name
        if not found.is_file():
            raise RecipeError(f"{path}: {place}: there is no file {found}")
        return str(found)

    def with_files(number: int, step: StepSettings) -> StepSettings:
        if not isinstance(step, DistillStep):
            return step
        files: dict[str, Any] = {"teacher": tuple(located(f"step.{number}.teacher", name) for name in step.teacher)}
        if isinstance(step.student, str):
            files["student"] = located(f"step.{number}.student", step.student)
        return step.model_copy(update=files)

    return recipe.model_copy(
        update={"step": tuple(with_files(number, step) for number, step in enumerate(recipe.step, start=1))}
    )


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
    if kind == "tuple_type":
        wanted = (
            "each step is a table written [[step]], in double brackets"
            if place == "step"
            else "a list in [ ] is wanted"
        )
        return f"{place}: given {given!r}; {wanted}"
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
        elif not (isinstance(before, int) and part in _STEPS) and part not in ("Scale", "str", "[key]"):
            yield str(part)


def _keys_at(location: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys known in the table at a place."""
    kinds = [part for part in location if part in _STEPS]
    table: type[BaseModel] = _STEPS[kinds[0]] if kinds else Recipe
    if location and location[-1] == "convert":
        table = Convert
    elif location and location[-1] == "input":
        table = Input
    elif location and location[-1] == "rank":
        table = Rank
    elif "Scale" in location:
        table = Scale
    return tuple(table.model_fields)
