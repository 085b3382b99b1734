from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_converters.checks import (
    calibration_samples,
    check_options,
    refuse_unexpected_float,
    refuse_what_runtimes_do_not_take,
)
from edgepress_converters.errors import (
    CalibrationError,
    RuntimeRefusesError,
    UnexpectedFloatError,
    UnsupportedOptionError,
)
from edgepress_converters.model import FloatOperator, TensorSpec, TFLiteModel
from edgepress_converters.options import ConversionOptions


@given(total=st.integers(1, 400), wanted=st.integers(1, 400))
def test_calibration_takes_as_many_as_asked_from_the_first_to_the_last(total: int, wanted: int) -> None:
    options = ConversionOptions("int8", calibration_samples=wanted)
    chosen = calibration_samples(options, (np.arange(total), np.arange(total) * 10))
    assert chosen is not None
    first, second = chosen
    assert len(first) == min(total, wanted)
    assert len(set(first)) == len(first)
    assert first[0] == 0
    assert first[-1] == total - 1 or len(first) == 1
    gaps = np.diff(first)
    assert gaps.max(initial=0) - gaps.min(initial=total) <= 1
    assert (second == first * 10).all()


@pytest.mark.parametrize("format", ["float32", "float16", "dynamic"])
def test_formats_without_activation_ranges_ignore_calibration_data(format: str) -> None:
    assert calibration_samples(ConversionOptions(format), (np.array([np.nan]),)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (None, "got none"),
        ((), "got none"),
        ((np.zeros((0, 4)),), "got none"),
        ((np.zeros((3, 4)), np.zeros((4, 4))), r"got \[3, 4\]"),
        ((np.zeros((3, 4)), np.full((3, 4), np.inf)), "input 1 contain NaN or infinity"),
    ],
)
def test_calibration_data_that_cannot_be_used_are_refused(arrays: tuple[np.ndarray, ...] | None, said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        calibration_samples(ConversionOptions("int8"), arrays)


def model_with(inputs: str, outputs: str, float_operators: tuple[FloatOperator, ...] = ()) -> TFLiteModel:
    return TFLiteModel(
        path=Path("model.tflite"),
        sha256="",
        size_bytes=0,
        inputs=(TensorSpec("input_0", 0, inputs, (1, 4), None, None),),
        outputs=(TensorSpec("output_0", 0, outputs, (1, 4), None, None),),
        operators=(),
        tensor_types=(),
        float_operators=float_operators,
    )


def test_a_float_input_is_an_error_where_integer_ones_were_asked_for() -> None:
    """As a first layer that training left without fake quantization makes it."""
    model = model_with("float32", "int8")
    with pytest.raises(UnexpectedFloatError, match=r'the input input_0 stayed float\. io = "float32" takes'):
        refuse_unexpected_float(model, ConversionOptions("int8", io="int8"))
    refuse_unexpected_float(model, ConversionOptions("int8", io="float32"))


def test_other_formats_may_hold_floats() -> None:
    model = model_with("float32", "float32", (FloatOperator("CONV_2D", ("conv",)),))
    for format in ("float32", "float16", "dynamic"):
        refuse_unexpected_float(model, ConversionOptions(format))  # type: ignore[arg-type]


def test_all_kinds_are_named_but_only_the_first_of_many_tensors_and_the_remedy_repeats_what_is_allowed() -> None:
    operators = tuple(FloatOperator("RSQRT" if i % 2 else "NEG", (f"tensor{i}",)) for i in range(9))
    model = model_with("int8", "int8", operators)
    with pytest.raises(UnexpectedFloatError, match=r"NEG, RSQRT \(they make tensor0, .*tensor4 and 4 more\)") as caught:
        refuse_unexpected_float(model, ConversionOptions("int8"))
    assert caught.value.tensors == tuple(f"tensor{index}" for index in range(9))
    with pytest.raises(UnexpectedFloatError, match=r'RSQRT \(they .*allow_float = \["NEG", "RSQRT"\]'):
        refuse_unexpected_float(model, ConversionOptions("int8", allow_float=("NEG",)))


def test_a_runtime_that_has_to_take_the_file_and_does_not_refuses_it() -> None:
    int4 = replace(model_with("float32", "float32"), tensor_types=(("INT4", 3),))
    refuse_what_runtimes_do_not_take(int4, ConversionOptions(runtimes=("ai-edge-litert==2.3.0",)))
    with pytest.raises(
        RuntimeRefusesError, match=r"tflite-runtime 2\.14\.0 does not take it.* Convert it without int4"
    ):
        refuse_what_runtimes_do_not_take(
            int4, ConversionOptions(runtimes=("ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"))
        )


@pytest.mark.parametrize(
    ("layer", "is_its"), [("dense", True), ("net", True), ("den", False), ("bias", False), ("dense_1", True)]
)
def test_an_operator_is_of_the_layers_that_its_tensors_are_named_after(layer: str, is_its: bool) -> None:
    assert FloatOperator("MUL", ("out:0", "net_1/dense_1/MatMul;net_1/relu/Relu")).is_of(layer) is is_its


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "INT8"}, "no format 'INT8'; there are float32, float16, dynamic, int8, int16x8"),
        ({"io": "uint8"}, "no io = 'uint8'; there are float32, int8"),
        ({"backend": "onnx"}, "no backend 'onnx'; there are tflite, ai-edge-quantizer"),
        ({"int4_weights": ("*",)}, 'int4_weights need backend = "ai-edge-quantizer"'),
        ({"backend": "ai-edge-quantizer", "format": "float16"}, 'float16" comes from backend = "tflite"'),
        ({"backend": "ai-edge-quantizer", "format": "dynamic", "sparse": True}, 'sparse needs backend = "tflite"'),
        ({"backend": "ai-edge-quantizer", "format": "int8", "ranges": "in-model"}, "starts from a float model"),
        ({"runtimes": ("tflite-runtime",)}, "wanted as NAME==VERSION; got 'tflite-runtime'"),
        ({"ranges": "guessed"}, "no ranges = 'guessed'; there are calibrated, in-model"),
        (
            {"format": "int8", "calibration": "mse"},
            'calibrate by "minmax"; ranges found by "mse" are put into the model',
        ),
        ({"format": "float32", "ranges": "in-model"}, 'make an int8 model; got format = "float32"'),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_what_there_is(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=said):
        check_options(ConversionOptions(**options))
