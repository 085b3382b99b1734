from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.model import TFLiteModel
from support import models_small

same_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=2000)


def test_a_model_says_what_it_is_made_of(digits_files: dict[str, Path]) -> None:
    model = read_model(digits_files["int8"])
    content = digits_files["int8"].read_bytes()
    assert (model.sha256, model.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert {use.name: (use.version, use.count) for use in model.operators} == {
        "ADD": (2, 1),
        "CONV_2D": (3, 2),
        "DEPTHWISE_CONV_2D": (3, 1),
        "FULLY_CONNECTED": (4, 1),
        "MEAN": (2, 1),
        "SOFTMAX": (2, 1),
    }
    assert dict(model.tensor_types) == {"INT8": 12, "INT32": 4}
    assert model.float_operators == ()


def test_constants_are_counted_in_bytes_with_the_operator_that_reads_them(digits_files: dict[str, Path]) -> None:
    constant_bytes = {use.name: use.constant_bytes for use in read_model(digits_files["float32"]).operators}
    assert constant_bytes["FULLY_CONNECTED"] == 4 * 8 * 10  # its bias is zero and was left out
    assert constant_bytes["DEPTHWISE_CONV_2D"] == 4 * 9 * 8
    assert constant_bytes["ADD"] == 0


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_inputs_and_outputs_are_what_the_interpreter_says(format: str, convert: Any) -> None:
    model: TFLiteModel = convert(models_small.many_in_many_out, format=format)
    interpreter = Interpreter(model_path=str(model.path))
    for specs, details in (
        (model.inputs, interpreter.get_input_details()),
        (model.outputs, interpreter.get_output_details()),
    ):
        assert sorted(spec.position for spec in specs) == list(range(len(details)))
        for spec in specs:
            detail = details[spec.position]
            assert (spec.dtype, spec.shape) == (detail["dtype"].__name__, tuple(detail["shape"]))
            scale, zero_point = detail["quantization"]
            assert (spec.scale or 0.0) == pytest.approx(scale)
            assert (spec.zero_point or 0) == zero_point


def test_a_float_model_with_integer_borders_names_what_is_inside(convert: Any) -> None:
    model = convert(models_small.layer_norm, format="int8", allow_float=("NEG", "RSQRT"), repack=False)
    assert model.inputs[0].dtype == "int8"
    assert model.float_operators
    assert {operator.kind for operator in model.float_operators} <= {"NEG", "RSQRT"}
    assert all(operator.is_of("normalized") for operator in model.float_operators)
    assert not any(operator.is_of("hidden") for operator in model.float_operators)


def test_quantize_and_dequantize_at_the_borders_are_no_float_operators(convert: Any) -> None:
    model = convert(models_small.dense_only, format="int8", io="float32")
    assert model.inputs[0].dtype == model.outputs[0].dtype == "float32"
    assert {"QUANTIZE", "DEQUANTIZE"} <= {use.name for use in model.operators}
    assert model.float_operators == ()


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\0\0\0TFL3", b"PK\x03\x04" + bytes(60), bytes(64)])
def test_a_file_that_is_no_flatbuffer_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    with pytest.raises(NotTFLiteError, match=r"model\.tflite is "):
        read_model(file)


@same_file
@given(content=st.binary(max_size=400))
def test_random_bytes_behind_the_identifier_are_refused_or_read(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content[:4].ljust(4, b"\0") + b"TFL3" + content[4:])
    read_or_refuse(file)


@same_file
@given(data=st.data(), format=st.sampled_from(["float32", "int8"]))
def test_a_truncated_file_is_refused(data: st.DataObject, format: str, digits_files: Any, tmp_path: Path) -> None:
    content = digits_files[format].read_bytes()
    file = tmp_path / "model.tflite"
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(NotTFLiteError):
        read_model(file)


@same_file
@given(
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=40),
    format=st.sampled_from(["float32", "int8"]),
)
def test_a_damaged_file_is_refused_or_read_but_never_more(
    damage: list[tuple[float, int]], format: str, digits_files: Any, tmp_path: Path
) -> None:
    content = bytearray(digits_files[format].read_bytes())
    for place, byte in damage:
        content[int(place * len(content))] = byte
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    read_or_refuse(file)


def test_tables_that_share_their_elements_do_not_take_forever(tmp_path: Path) -> None:
    many = 3_000
    builder = flatbuffers.Builder()
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    file = tmp_path / "model.tflite"
    file.write_bytes(bytes(builder.Output()))
    with pytest.raises(NotTFLiteError, match="more elements than the file can hold"):
        read_model(file)


def test_reading_needs_no_tensorflow() -> None:
    code = "import sys, edgepress_converters.flatbuffer; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def read_or_refuse(file: Path) -> None:
    try:
        model = read_model(file)
    except NotTFLiteError:
        return
    assert all(isinstance(use.count, int) for use in model.operators)
