"""Which TFLite runtime takes which model.

Known by asking: each runtime was made to load every operator in every version, and to compute the kinds of operators
that conversions of small models lead to (:mod:`edgepress_converters.probing`); the answers are files, one for each
exact version, those that ship (``data/``) and those that provisioning learned from a board with another version. The
``min_runtime_version`` that the converter writes into a file is not used: it is empty or wrong for several formats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from edgepress_converters.model import TFLiteModel
from edgepress_converters.probing.probe import types_of

VersionRange = tuple[int, int] | None  # of an operator: lowest and highest version; None: the runtime lacks it

# What the first files had. Later ones are refused where they were not seen to be computed: tflite-runtime 2.14 loads
# INT4 weights without a word and answers garbage (digits: accuracy 0.10 instead of 0.97).
_FIRST_TYPES = frozenset(
    {
        *("FLOAT32", "FLOAT16", "FLOAT64", "INT8", "UINT8", "INT16", "INT32", "INT64", "UINT64", "BOOL", "STRING"),
        *("COMPLEX64", "COMPLEX128", "RESOURCE", "VARIANT"),
    }
)
_PER_CHANNEL_DENSE = ("FULLY_CONNECTED", 12)


@dataclass(frozen=True)
class RuntimeLimits:
    """What one exact version of a runtime takes.

    Attributes:
        operators: the versions of each operator that it loads.
        types: tensor types with which it computed everything that was asked.
        refused: kinds of operators (:attr:`TFLiteModel.signatures`) that it does not compute, and what it said, or how
            it died, or that it answered wrongly.
    """

    name: str
    version: str
    operators: Mapping[str, VersionRange]
    types: frozenset[str]
    refused: Mapping[str, str]


def known() -> tuple[tuple[str, str], ...]:
    """Return name and version of each runtime that was asked, oldest version first."""
    return tuple(sorted(_documents(), key=lambda pair: (pair[0], _numbers(pair[1]))))


def learn(document: Mapping[str, Any]) -> None:
    """Keep what a runtime said of itself (``probe.py all``) for later calls on this machine.

    Raises:
        ValueError: it is no such answer.
    """
    limits = _limits(document)
    path = _learned_folder() / f"runtime_{limits.name}_{limits.version}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")  # half a file would stop every later call
    part.write_text(json.dumps(document))
    part.replace(path)
    forget_answers()


def forget_answers() -> None:
    """Read the files again when they are next needed."""
    _documents.cache_clear()
    limits_of.cache_clear()


@cache
def limits_of(runtime_name: str, runtime_version: str) -> RuntimeLimits | None:
    """Return the limits that a version is judged by: its own, else those of the newest one asked that is not newer.

    Runtimes learn operators and do not forget them, so that what the older one takes the asked one takes too. None:
    every version that was asked is newer, or the runtime is unknown.
    """
    asked = _numbers(runtime_version)
    not_newer = [version for name, version in known() if name == runtime_name and _numbers(version) <= asked]
    return _limits(_documents()[runtime_name, not_newer[-1]]) if not_newer else None


def incompatibilities(model: TFLiteModel, runtime_name: str, runtime_version: str) -> tuple[str, ...]:
    """Return, in sentences, why a runtime cannot take a model; empty when it can."""
    limits = limits_of(runtime_name, runtime_version)
    if limits is None:
        names = ", ".join(f"{name} {version}" for name, version in known())
        return (f"nothing is known about {runtime_name} {runtime_version}; known are {names} and what came after",)
    asked = f"{runtime_name} {runtime_version}"
    if _numbers(runtime_version) != _numbers(limits.version):
        asked += f" (judged by {limits.version}, the newest version before it that was asked)"
    reasons = []
    for operator in model.operators:
        versions = limits.operators.get(operator.name)
        if versions is None:
            reasons.append(f"{asked} has no operator {operator.name}")
        elif not versions[0] <= operator.version <= versions[1]:
            reasons.append(
                f"the model has {operator.name} version {operator.version}; "
                f"{asked} takes {versions[0]} to {versions[1]}"
            )
    unseen = {name for name, _ in model.tensor_types} - _FIRST_TYPES - limits.types
    for name, count in model.tensor_types:
        if name in unseen:
            reasons.append(f"the model has {count} tensors of type {name}, which {asked} cannot compute with")
    for signature in model.signatures:
        if signature in limits.refused and not unseen.intersection(types_of(signature)):
            reasons.append(f"{asked} cannot compute {signature} ({limits.refused[signature]})")
    return tuple(reasons)


def remedy(model: TFLiteModel) -> str:
    """Return what to do with a model that a runtime does not take."""
    if any((operator.name, operator.version) == _PER_CHANNEL_DENSE for operator in model.operators):
        return (
            "Its dense weights have a scale for each output. `edgepress convert --format dynamic` gives them one for "
            "all, which every runtime takes"
        )
    if "INT4" in dict(model.tensor_types):
        return "Convert it without int4_weights"
    if "INT16" in dict(model.tensor_types):
        return 'Convert it to int8 or dynamic, or by backend = "ai-edge-quantizer"'
    return "Convert it to another format, or install a newer runtime"


def slowness(model: TFLiteModel, runtime_name: str) -> str | None:
    """Return why a model is slower in a runtime than its format promises; None: nothing is known."""
    types = dict(model.tensor_types)
    if runtime_name != "tflite-runtime" or types.get("INT8", 0) <= types.get("FLOAT32", 0):
        return None
    return (
        "tflite-runtime leaves int8 to its plain kernels, while XNNPACK computes float32: on x86-64 float32 may be "
        "several times as fast there. ai-edge-litert has XNNPACK for int8 as well"
    )


@cache
def _documents() -> Mapping[tuple[str, str], Mapping[str, Any]]:
    shipped = (file for file in (resources.files("edgepress_converters") / "data").iterdir())
    learned = sorted(_learned_folder().glob("runtime_*.json"))
    texts = [file.read_text() for file in (*learned, *shipped) if file.name.startswith("runtime_")]  # ours come last
    return MappingProxyType({(one["runtime"], one["version"]): one for one in map(json.loads, texts)})


def _limits(document: Mapping[str, Any]) -> RuntimeLimits:
    try:
        return RuntimeLimits(
            str(document["runtime"]),
            str(document["version"]),
            {str(name): (int(v[0]), int(v[1])) if v else None for name, v in document["operators"].items()},
            frozenset(map(str, document["types"])),
            {str(signature): str(why) for signature, why in document["refused"].items()},
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"this is no runtime's answer: {type(error).__name__}: {error}") from error


def _learned_folder() -> Path:
    return platformdirs.user_data_path("edgepress", appauthor=False) / "runtimes"


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers: "2.1.6" is (2, 1, 6), and so is "2.1.6.dev20250101"."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
