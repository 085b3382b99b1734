from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepress_converters import runtimes
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.model import OperatorUse, TFLiteModel


def model_with(*operators: tuple[str, int], types: tuple[str, ...] = ("FLOAT32",)) -> TFLiteModel:
    return TFLiteModel(
        path=Path("model.tflite"),
        sha256="",
        size_bytes=0,
        inputs=(),
        outputs=(),
        operators=tuple(OperatorUse(name, version, 1, 0) for name, version in operators),
        tensor_types=tuple((name, 3) for name in types),
        float_operators=(),
        min_runtime_version="",
    )


def test_the_probed_runtimes_are_known_oldest_first() -> None:
    assert runtimes.KNOWN == (("ai-edge-litert", "1.4"), ("ai-edge-litert", "2.3"), ("tflite-runtime", "2.14"))


def test_every_known_runtime_judges_tensor_types_too() -> None:
    for name, version in runtimes.KNOWN:
        assert runtimes.incompatibilities(model_with(types=("TYPE_99",)), name, version)


def test_a_per_channel_dense_of_the_dynamic_format_is_too_new_for_tflite_runtime() -> None:
    dense = model_with(("FULLY_CONNECTED", 12))
    (reason,) = runtimes.incompatibilities(dense, "tflite-runtime", "2.14.0")
    assert "FULLY_CONNECTED version 12" in reason
    assert "tflite-runtime 2.14.0 takes 1 to 10" in reason
    assert runtimes.incompatibilities(dense, "ai-edge-litert", "1.4.0") == ()
    assert runtimes.incompatibilities(dense, "ai-edge-litert", "2.3.0") == ()


def test_int4_weights_are_refused_where_they_load_and_compute_garbage() -> None:
    int4 = model_with(("FULLY_CONNECTED", 1), types=("FLOAT32", "INT4"))
    (reason,) = runtimes.incompatibilities(int4, "tflite-runtime", "2.14.0")
    assert "3 tensors of type INT4" in reason
    assert runtimes.incompatibilities(int4, "ai-edge-litert", "1.4.0") == ()


def test_an_operator_that_a_runtime_lacks_is_named() -> None:
    stablehlo = model_with(("STABLEHLO_ADD", 1))
    assert runtimes.incompatibilities(stablehlo, "tflite-runtime", "2.14.0") == (
        "tflite-runtime 2.14.0 has no operator STABLEHLO_ADD",
    )
    assert "CUSTOM:Betainc" in runtimes.incompatibilities(model_with(("CUSTOM:Betainc", 1)), "ai-edge-litert", "2.3")[0]


def test_a_version_between_two_probed_ones_is_judged_by_the_older_and_says_so() -> None:
    assert runtimes.probed_version("ai-edge-litert", "2.1.6") == "1.4"
    (reason,) = runtimes.incompatibilities(model_with(("FULLY_CONNECTED", 14)), "ai-edge-litert", "2.1.6")
    assert "judged by 1.4, the newest version before it that was probed" in reason
    assert runtimes.incompatibilities(model_with(("FULLY_CONNECTED", 14)), "ai-edge-litert", "2.4.0") == ()


@pytest.mark.parametrize(("name", "version"), [("ai-edge-litert", "1.0.1"), ("onnxruntime", "1.20"), ("", "")])
def test_a_runtime_that_nothing_is_known_of_takes_no_model(name: str, version: str) -> None:
    (reason,) = runtimes.incompatibilities(model_with(), name, version)
    assert reason.startswith(f"nothing is known about {name} {version}; known are ai-edge-litert 1.4")


def test_every_format_loads_on_every_known_runtime(digits_files: dict[str, Path]) -> None:
    for file in digits_files.values():
        for name, version in runtimes.KNOWN:
            assert runtimes.incompatibilities(read_model(file), name, version) == ()


def test_the_dynamic_format_keeps_dense_layers_loadable_on_tflite_runtime(convert: Any) -> None:
    from support import models_small

    file = convert(models_small.dense_only, format="dynamic")
    assert ("FULLY_CONNECTED", 9) in {(use.name, use.version) for use in file.operators}
    assert runtimes.incompatibilities(file, "tflite-runtime", "2.14.0") == ()
