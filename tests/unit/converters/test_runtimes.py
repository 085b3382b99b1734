from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest

from edgepress_converters import runtimes
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.model import OperatorUse, TFLiteModel
from edgepress_converters.probing import PROBE


def model_with(
    *operators: tuple[str, int], types: tuple[str, ...] = ("FLOAT32",), signatures: tuple[str, ...] = ()
) -> TFLiteModel:
    return TFLiteModel(
        path=Path("model.tflite"),
        sha256="",
        size_bytes=0,
        inputs=(),
        outputs=(),
        operators=tuple(OperatorUse(name, version, 1, 0) for name, version in operators),
        signatures=signatures,
        tensor_types=tuple((name, 3) for name in types),
        float_operators=(),
    )


@pytest.fixture(autouse=True)
def _nothing_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runtimes, "_learned_folder", lambda: tmp_path / "learned")
    runtimes.forget_answers()
    yield
    runtimes.forget_answers()


def test_the_runtimes_that_were_asked_are_known_oldest_first() -> None:
    assert runtimes.known() == (
        ("ai-edge-litert", "1.4.0"),
        ("ai-edge-litert", "2.1.6"),
        ("ai-edge-litert", "2.3.0"),
        ("tflite-runtime", "2.14.0"),
    )


@pytest.mark.parametrize("type_name", ["TYPE_99", "BFLOAT16"])
def test_a_tensor_type_that_no_runtime_was_seen_to_compute_with_is_refused(type_name: str) -> None:
    for name, version in runtimes.known():
        assert runtimes.incompatibilities(model_with(types=(type_name,)), name, version)


def test_a_per_channel_dense_of_the_dynamic_format_is_too_new_for_tflite_runtime() -> None:
    dense = model_with(("FULLY_CONNECTED", 12))
    (reason,) = runtimes.incompatibilities(dense, "tflite-runtime", "2.14.0")
    assert "FULLY_CONNECTED version 12" in reason
    assert "tflite-runtime 2.14.0 takes 1 to 10" in reason
    assert "--format dynamic" in runtimes.remedy(dense)
    assert runtimes.incompatibilities(dense, "ai-edge-litert", "1.4.0") == ()
    assert runtimes.incompatibilities(dense, "ai-edge-litert", "2.3.0") == ()


def test_int4_weights_are_refused_where_they_load_and_compute_garbage() -> None:
    signature = "FULLY_CONNECTED 1: FLOAT32 INT4/channel -> FLOAT32"
    int4 = model_with(("FULLY_CONNECTED", 1), types=("FLOAT32", "INT4"), signatures=(signature,))
    (reason,) = runtimes.incompatibilities(int4, "tflite-runtime", "2.14.0")
    assert "3 tensors of type INT4" in reason
    assert runtimes.remedy(int4) == "Convert it without int4_weights"
    assert runtimes.incompatibilities(int4, "ai-edge-litert", "2.3.0") == ()


def test_int8_is_said_to_be_slow_where_it_has_no_fast_kernels() -> None:
    int8, mostly_float = model_with(types=("INT8",)), model_with(types=("INT8", "FLOAT32"))
    assert "float32 may be several times as fast there" in (runtimes.slowness(int8, "tflite-runtime") or "")
    assert runtimes.slowness(int8, "ai-edge-litert") is None
    assert runtimes.slowness(mostly_float, "tflite-runtime") is None


def test_an_operator_that_a_runtime_lacks_is_named() -> None:
    stablehlo = model_with(("STABLEHLO_ADD", 1))
    assert runtimes.incompatibilities(stablehlo, "tflite-runtime", "2.14.0") == (
        "tflite-runtime 2.14.0 has no operator STABLEHLO_ADD",
    )
    assert "CUSTOM:Betainc" in runtimes.incompatibilities(model_with(("CUSTOM:Betainc", 1)), "ai-edge-litert", "2.3")[0]


def test_a_version_that_was_not_asked_is_judged_by_the_newest_before_it_and_says_so() -> None:
    (reason,) = runtimes.incompatibilities(model_with(("FULLY_CONNECTED", 14)), "ai-edge-litert", "2.1.2")
    assert "judged by 1.4.0, the newest version before it that was asked" in reason
    assert runtimes.incompatibilities(model_with(("FULLY_CONNECTED", 14)), "ai-edge-litert", "2.4.0") == ()


def test_a_use_that_a_runtime_was_seen_to_fail_at_is_refused_with_what_it_said() -> None:
    signature = "ADD 3: FLOAT32 -> FLOAT32"
    runtimes.learn(
        {
            "runtime": "ai-edge-litert",
            "version": "99.0",
            "operators": {"ADD": [1, 3]},
            "types": ["FLOAT32"],
            "refused": {signature: "answers wrongly"},
        }
    )
    model = model_with(("ADD", 3), signatures=(signature,))
    assert runtimes.incompatibilities(model, "ai-edge-litert", "99.0") == (
        f"ai-edge-litert 99.0 cannot compute {signature} (answers wrongly)",
    )
    assert runtimes.incompatibilities(model_with(("ADD", 3)), "ai-edge-litert", "99.0") == ()


def test_what_is_no_runtimes_answer_is_not_kept() -> None:
    with pytest.raises(ValueError, match="no runtime's answer"):
        runtimes.learn({"runtime": "ai-edge-litert", "version": "99.0"})
    assert ("ai-edge-litert", "99.0") not in runtimes.known()


@pytest.mark.parametrize(("name", "version"), [("ai-edge-litert", "1.0.1"), ("onnxruntime", "1.20"), ("", "")])
def test_a_runtime_that_nothing_is_known_of_takes_no_model(name: str, version: str) -> None:
    (reason,) = runtimes.incompatibilities(model_with(), name, version)
    assert reason.startswith(f"nothing is known about {name} {version}; known are ai-edge-litert 1.4.0")


def test_every_format_runs_on_every_known_runtime(digits_files: dict[str, Path]) -> None:
    for file in digits_files.values():
        for name, version in runtimes.known():
            assert runtimes.incompatibilities(read_model(file), name, version) == ()


def test_the_dynamic_format_keeps_dense_layers_loadable_on_tflite_runtime(convert: Any) -> None:
    from support import models_small

    file = convert(models_small.dense_only, format="dynamic")
    assert ("FULLY_CONNECTED", 9) in {(use.name, use.version) for use in file.operators}
    assert runtimes.incompatibilities(file, "tflite-runtime", "2.14.0") == ()


def test_the_shipped_answer_is_what_the_runtime_here_says(tmp_path: Path) -> None:
    """Of the runtime that runs the tests; a version that did not ship is judged by nothing."""
    version = metadata.version("ai-edge-litert")
    limits = runtimes.limits_of("ai-edge-litert", version)
    if limits is None or limits.version != version:
        pytest.skip(f"ai-edge-litert {version} was not asked when this was released")
    cases = resources.files("edgepress_converters") / "data" / "probe_cases.zip"
    command = [sys.executable, str(PROBE), "all", str(cases)]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    runtimes.learn({**said, "version": "99.0"})
    again = runtimes.limits_of("ai-edge-litert", "99.0")
    assert again is not None
    assert (again.operators, again.types, again.refused) == (limits.operators, limits.types, limits.refused)
