"""Read what ``--data`` names: an .npz file, a folder of pictures, or a function that returns a Dataset."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from edgepress.data.checks import check_fits
from edgepress.data.dataset import Dataset
from edgepress.data.pictures import Pictures, load_pictures
from edgepress.errors import DataError
from edgepress.user_code import import_user_module, working_directory_on_path

Array = NDArray[Any]

_REQUIRED = ("x_train", "y_train", "x_val", "y_val")
_OPTIONAL = ("x_test", "y_test")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_dataset(spec: str, model: Any | None, seed: int, pictures: Pictures | None = None) -> Dataset:
    """Load the data that ``spec`` names, as the model takes them.

    Args:
        spec: path of an .npz file with ``x_train y_train x_val y_val`` and, if there are, ``x_test y_test``; with
            several inputs or outputs ``x_train_0 x_train_1`` ... in model order. ``labels`` (names of the classes),
            ``color`` (rgb, bgr, gray), ``mean`` and ``scale`` are taken into the InputSpec where they are there.
            Or a folder of pictures, see :func:`edgepress.data.pictures.load_pictures`; or ``module:function``, a
            function without arguments that returns a Dataset.
        model: inputs are cast to its dtypes and everything is checked against it; None: no check, float64 -> float32.
        seed: of the choice which half of val is set aside when there is no test split.
        pictures: what a recipe says of the input: how pictures in a folder become inputs; other data that do not say
            what their input means are taken to mean this.

    Raises:
        DataError: the file or function is not there, arrays are missing, or they do not fit each other or the model.
    """
    if _FUNCTION.fullmatch(spec) and not Path(spec).exists():
        dataset = _from_function(spec)
    elif Path(spec).is_dir():
        dataset = load_pictures(Path(spec), _known(spec, pictures), seed)
    else:
        dataset = _from_npz(Path(spec), _input_dtypes(model), seed)
    if pictures is not None:
        dataset = meaning(dataset, pictures)
    if model is not None:
        check_fits(dataset, model)
    return dataset


def meaning(dataset: Dataset, pictures: Pictures) -> Dataset:
    """Return the data with what a recipe says of their input, where they do not say it themselves.

    Raises:
        DataError: they are no pictures of this size and colour, or say something else of themselves.
    """
    spec = dataset.input_spec
    if spec.shapes != (pictures.shape,):
        raise DataError(
            f"the recipe's [input] wants pictures of shape {pictures.shape} ({pictures.color}), but the data have "
            f"inputs of shape {', '.join(map(str, spec.shapes))}"
        )
    said = (spec.color, spec.mean, spec.scale)
    wanted = (pictures.color, pictures.mean, pictures.scale)
    if said not in ((None, (0.0,), (1.0,)), wanted):
        raise DataError(
            f"the data say color, mean, scale = {said} of themselves, but the recipe's [input] says {wanted}: they "
            "were prepared otherwise"
        )
    described = replace(spec, color=pictures.color, mean=pictures.mean, scale=pictures.scale)
    return replace(dataset, input_spec=described)


def _known(spec: str, pictures: Pictures | None) -> Pictures:
    if pictures is None:
        raise DataError(
            f"{spec} is a folder of pictures, and nothing says how they become inputs. `run` and `compress` take that "
            'from a recipe: add a table [input] with size = [96, 96], color = "rgb", scale = 255.0, say. `bench` takes '
            "it from what `compress` left beside a file; elsewhere hand in an .npz file, or module:function"
        )
    return pictures


def _input_dtypes(model: Any | None) -> tuple[str, ...] | None:
    return None if model is None else tuple(str(tensor.dtype) for tensor in model.inputs)


def _from_function(spec: str) -> Dataset:
    module_name, function_name = spec.split(":")
    module = import_user_module(module_name, DataError, f"named by --data {spec}")
    function = getattr(module, function_name, None)
    if not callable(function):
        there = ", ".join(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        raise DataError(f"module {module_name!r} has no function {function_name!r}; it has: {there or 'none'}")
    with working_directory_on_path():  # it may import more of the user's modules
        dataset = function()
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"{spec} returned {type(dataset).__name__}; it must return an edgepress Dataset, "
            "e.g. Dataset.from_arrays(x_train, y_train, x_val, y_val, x_test, y_test)"
        )
    return dataset


def _from_npz(path: Path, dtypes: tuple[str, ...] | None, seed: int) -> Dataset:
    arrays = _read_npz(path)
    found = {name: _numbered(arrays, name) for name in (*_REQUIRED, *_OPTIONAL)}
    missing = [name for name in _REQUIRED if not found[name]]
    if bool(found["x_test"]) != bool(found["y_test"]):
        missing.append("y_test" if found["x_test"] else "x_test")
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}; there are: {', '.join(arrays) or 'no arrays'}. Wanted are "
            "x_train y_train x_val y_val and, if there are, x_test y_test "
            "(with several inputs or outputs: x_train_0 x_train_1 ...)"
        )
    for name in ("x_train", "x_val", "x_test"):
        found[name] = _cast(path, name, found[name], dtypes)
    return Dataset.from_arrays(
        found["x_train"],
        found["y_train"],
        found["x_val"],
        found["y_val"],
        found["x_test"] or None,
        found["y_test"] or None,
        seed=seed,
        **_input_meaning(path, arrays),
    )


def _read_npz(path: Path) -> dict[str, Array]:
    if not path.exists():
        raise DataError(f"there is no file {path} (nor is it of the form module:function)")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path} holds a single array; an .npz with x_train y_train x_val y_val is wanted")
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        if "pickle" in str(error).lower():
            raise DataError(
                f"{path} is no .npz file, or has arrays of Python objects, which are not read since they could run "
                "code: make it with numpy.savez from arrays of numbers"
            ) from error
        raise DataError(f"{path} is no .npz file, or a damaged one ({error}): make it with numpy.savez") from error


def _numbered(arrays: Mapping[str, Array], name: str) -> tuple[Array, ...]:
    """The array called ``name``, or ``name_0``, ``name_1`` ... as far as they go."""
    if name in arrays:
        return (arrays[name],)
    several: list[Array] = []
    while f"{name}_{len(several)}" in arrays:
        several.append(arrays[f"{name}_{len(several)}"])
    return tuple(several)


def _cast(path: Path, name: str, inputs: tuple[Array, ...], dtypes: tuple[str, ...] | None) -> tuple[Array, ...]:
    """Inputs in the dtypes the model takes. A wrong number of them is left for the check to report."""
    if dtypes is None or len(dtypes) != len(inputs):
        dtypes = tuple("float32" if x.dtype == np.float64 else str(x.dtype) for x in inputs)
    for x, dtype in zip(inputs, dtypes, strict=True):
        if x.dtype.kind not in "biuf":
            raise DataError(f"{path}: {name} has the dtype {x.dtype}; numbers are wanted")
        if x.dtype.kind == "f" and np.dtype(dtype).kind in "iu":
            raise DataError(f"{path}: {name} has the dtype {x.dtype}, but the model takes {dtype}: store whole numbers")
    return tuple(x.astype(dtype, copy=False) for x, dtype in zip(inputs, dtypes, strict=True))


def _input_meaning(path: Path, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """What the optional arrays say about the input."""
    meaning: dict[str, Any] = {}
    if "labels" in arrays:
        meaning["labels"] = tuple(str(label) for label in arrays["labels"].ravel())
    if "color" in arrays:
        color = str(arrays["color"])
        if color not in ("rgb", "bgr", "gray"):
            raise DataError(f"{path}: color is {color!r}; it can be rgb, bgr or gray")
        meaning["color"] = cast(Literal["rgb", "bgr", "gray"], color)
    for name in ("mean", "scale"):
        if name in arrays:
            meaning[name] = tuple(float(value) for value in np.atleast_1d(arrays[name]).ravel())
    return meaning
