"""The same model in fewer bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgepress_converters.composition import PARTS, composition
from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.options import FORMATS
from edgepress_converters.repack import repack, repack_file
from support import models_small
from support.tflite_files import with_constants_behind

MODELS = Path(__file__).parents[2] / "cases/models"


def graph_of(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).subgraphs[0]


def raw_inputs(model: Any, count: int = 4) -> tuple[Any, ...]:
    generator = np.random.default_rng(0)
    return tuple(
        (generator.random((count, *spec.shape[1:])) * (2 if spec.dtype == "int32" else 100)).astype(spec.dtype)
        for spec in model.inputs
    )


@pytest.mark.parametrize("format", FORMATS)
def test_outputs_are_the_same_to_the_last_bit_and_the_file_is_smaller(
    format: str, convert: Any, worker_pool: Any, tmp_path: Path
) -> None:
    whole = convert(models_small.residual_cnn, format=format, repack=False)
    small = tmp_path / "small.tflite"
    small.write_bytes(repack(whole.path.read_bytes()))

    repacked = read_model(small)

    assert repacked.size_bytes < 0.9 * whole.size_bytes
    assert (repacked.inputs, repacked.outputs) == (whole.inputs, whole.outputs)
    assert [(use.name, use.version, use.count) for use in repacked.operators] == [
        (use.name, use.version, use.count) for use in whole.operators
    ]
    inputs = raw_inputs(whole)
    for wanted, given in zip(worker_pool.run(whole, inputs), worker_pool.run(repacked, inputs), strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_inputs_and_outputs_keep_their_names_and_signature(convert: Any, worker_pool: Any, tmp_path: Path) -> None:
    whole = convert(models_small.many_in_many_out, format="int8", repack=False)
    content = repack(whole.path.read_bytes())
    (tmp_path / "small.tflite").write_bytes(content)

    repacked = read_model(tmp_path / "small.tflite")

    graph, before = graph_of(content), graph_of(whole.path.read_bytes())
    borders = {*graph.inputs, *graph.outputs}
    assert (repacked.inputs, repacked.outputs) == (whole.inputs, whole.outputs)
    for index, (tensor, old) in enumerate(zip(graph.tensors, before.tensors, strict=True)):
        assert tensor.name == (old.name if index in borders else None)
    inputs = raw_inputs(whole)
    for wanted, given in zip(worker_pool.run(whole, inputs), worker_pool.run(repacked, inputs), strict=True):
        np.testing.assert_array_equal(given, wanted)


def test_a_conversion_repacks_small_files_unless_somebody_says_no(convert: Any, monkeypatch: Any) -> None:
    def name_bytes(**options: Any) -> int:
        return composition(convert(models_small.residual_cnn, **options).path)["names"]

    whole = name_bytes(repack=False)
    assert name_bytes() < 0.3 * whole
    monkeypatch.setattr("edgepress_converters.pool.SMALL_FILE_BYTES", 100)
    assert name_bytes() == whole
    assert name_bytes(repack=True) < 0.3 * whole


@pytest.mark.parametrize("name", ["conv_int8", "dense_float32", "two_in_two_out"])
def test_constants_stay_where_kernels_can_read_them(name: str) -> None:
    content = repack((MODELS / f"{name}.tflite").read_bytes())
    model = schema.Model.GetRootAs(content, 0)

    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert model.BuffersLength() == len(starts) + 1
    assert [start % 16 for start in starts] == [0] * len(starts)


@pytest.mark.parametrize("name", ["conv_int8", "dense_float32", "two_in_two_out"])
def test_constants_behind_the_flatbuffer_are_taken_into_it(name: str, tmp_path: Path) -> None:
    path = MODELS / f"{name}.tflite"
    behind = tmp_path / f"{name}.tflite"
    behind.write_bytes(with_constants_behind(path.read_bytes()))

    assert repack(behind.read_bytes()) == repack(path.read_bytes())
    assert read_model(behind).operators == read_model(path).operators
    parts = composition(behind)
    assert sum(parts.values()) == behind.stat().st_size
    assert parts["weights"] >= sum(use.constant_bytes for use in read_model(path).operators)


def test_a_constant_that_ends_behind_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(with_constants_behind((MODELS / "conv_int8.tflite").read_bytes())[:-8])

    with pytest.raises(NotTFLiteError, match="truncated or damaged"):
        read_model(path)


def test_a_file_that_was_repacked_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes((MODELS / "conv_int8.tflite").read_bytes())
    repack_file(path)
    once = path.read_bytes()

    repack_file(path)

    assert path.read_bytes() == once


def test_equal_constants_are_written_once() -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs((MODELS / "dense_float32.tflite").read_bytes(), 0))
    constant = next(buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 4)
    twin = schema.BufferT()
    twin.data = constant.data
    model.buffers.append(twin)
    model.subgraphs[0].tensors[-1].buffer = len(model.buffers) - 1
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), b"TFL3")

    again = schema.ModelT.InitFromObj(schema.Model.GetRootAs(repack(bytes(builder.Output())), 0))

    contents = [bytes(buffer.data) for buffer in again.buffers if buffer.data is not None]
    assert contents.count(bytes(constant.data)) == 1


@pytest.mark.parametrize("name", ["conv_int8", "dense_float32", "two_in_two_out", "smoke"])
def test_the_parts_of_a_file_are_the_whole_file(name: str, tmp_path: Path) -> None:
    path = MODELS / f"{name}.tflite"
    parts = composition(path)
    (tmp_path / "small.tflite").write_bytes(repack(path.read_bytes()))
    small = composition(tmp_path / "small.tflite")

    assert tuple(parts) == PARTS
    assert sum(parts.values()) == path.stat().st_size
    assert min(parts.values()) >= 0
    assert small["metadata"] == 0
    assert small["names"] < parts["names"]
    assert sum(use.constant_bytes for use in read_model(path).operators) <= parts["weights"]


def test_a_damaged_file_has_no_composition(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes((MODELS / "conv_int8.tflite").read_bytes()[:300])

    with pytest.raises(NotTFLiteError, match="truncated or damaged"):
        composition(path)
