"""Which TFLite runtime takes which model.

The limits were found by asking each runtime's wheel to load every operator in every version (``data/op_versions_*``,
one file per probed runtime). The ``min_runtime_version`` that the converter writes into a file is not used: it is empty
or wrong for several formats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from edgepress_converters.model import TFLiteModel

VersionRange = tuple[int, int] | None  # of an operator: lowest and highest version; None: the runtime lacks it


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers: "2.1.6" is (2, 1, 6), and so is "2.1.6.dev20250101"."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _probed() -> tuple[tuple[str, str], ...]:
    names = [file.name for file in (resources.files("edgepress_converters") / "data").iterdir()]
    found = [
        name.removeprefix("op_versions_").removesuffix(".json").split("_") for name in names if "op_versions" in name
    ]
    return tuple(sorted(((name, version) for name, version in found), key=lambda pair: (pair[0], _numbers(pair[1]))))


KNOWN = _probed()
"""Name and version of each probed runtime, oldest version first."""

# Types newer than a probed runtime's schema, or that it reads and computes wrongly. tflite-runtime 2.14 loads INT4
# weights without a word and answers garbage (digits: accuracy 0.10 instead of 0.97).
_REFUSED_TYPES: Mapping[tuple[str, str], frozenset[str]] = {
    ("tflite-runtime", "2.14"): frozenset(
        {"INT4", "BFLOAT16", "INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2"},
    ),
    ("ai-edge-litert", "1.4"): frozenset({"INT2", "UINT4", "FLOAT8_E4M3FN", "FLOAT8_E5M2"}),
    ("ai-edge-litert", "2.3"): frozenset(),
}


@cache
def operator_versions(runtime_name: str, probed_version: str) -> Mapping[str, VersionRange]:
    """Return the versions of each operator that a probed runtime takes."""
    file = resources.files("edgepress_converters") / "data" / f"op_versions_{runtime_name}_{probed_version}.json"
    return MappingProxyType(
        {name: (limits[0], limits[1]) if limits else None for name, limits in json.loads(file.read_text()).items()}
    )


def probed_version(runtime_name: str, runtime_version: str) -> str | None:
    """Return the version whose limits stand for ``runtime_version``: the newest probed one that is not newer.

    Runtimes learn operators and do not forget them, so that what the older one takes the asked one takes too. None:
    every probed version is newer, or the runtime is unknown.
    """
    asked = _numbers(runtime_version)
    not_newer = [version for name, version in KNOWN if name == runtime_name and _numbers(version) <= asked]
    return not_newer[-1] if not_newer else None


def incompatibilities(model: TFLiteModel, runtime_name: str, runtime_version: str) -> tuple[str, ...]:
    """Return, in sentences, why a runtime cannot take a model; empty when it can."""
    probed = probed_version(runtime_name, runtime_version)
    if probed is None:
        known = ", ".join(f"{name} {version}" for name, version in KNOWN)
        return (f"nothing is known about {runtime_name} {runtime_version}; known are {known} and what came after",)
    asked = f"{runtime_name} {runtime_version}"
    if _numbers(runtime_version)[: len(_numbers(probed))] != _numbers(probed):
        asked += f" (judged by {probed}, the newest version before it that was probed)"
    limits = operator_versions(runtime_name, probed)
    reasons = []
    for operator in model.operators:
        versions = limits.get(operator.name)
        if versions is None:
            reasons.append(f"{asked} has no operator {operator.name}")
        elif not versions[0] <= operator.version <= versions[1]:
            reasons.append(
                f"the model has {operator.name} version {operator.version}; "
                f"{asked} takes {versions[0]} to {versions[1]}"
            )
    for name, count in model.tensor_types:
        if name in _REFUSED_TYPES[runtime_name, probed] or name.startswith("TYPE_"):
            reasons.append(f"the model has {count} tensors of type {name}, which {asked} cannot compute with")
    return tuple(reasons)
