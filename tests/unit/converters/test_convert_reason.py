"""What the converter says, shortened to a line. The texts are TensorFlow 2.21's, captured and cut."""

from __future__ import annotations

import pytest

from edgepress_converters.worker.convert import MAX_REASON_CHARACTERS, reason

NO_KERNEL = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["AsString:", \
"text/a_3/AsString@__inference_serve_1295"] at callsite(fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall@__inference_signature_wrapper_serve_1305"] at fused["StatefulPartitionedCall:", \
"StatefulPartitionedCall"]))): 'tf.AsString' op is neither a custom op nor a flex op
<unknown>:0: note: loc(fused["StatefulPartitionedCall:", "StatefulPartitionedCall"]): called from
<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select.
TF Select ops: AsString, StringToNumber
Details:
\ttf.AsString(tensor<1x4xf32>) -> (tensor<1x4x!tf_type.string>) : {device = ""}

Some ops in the model are custom ops, See instructions to implement custom ops
Custom ops: EagerPyFunc
"""
TRANSPOSE = """<unknown>:0: error: loc(callsite(fused["MatMul:", "qat/dense/MatMul@__inference_serve_7"] at \
fused["StatefulPartitionedCall:", "StatefulPartitionedCall"])): 'tfl.transpose' op has mismatched quantized axes of \
input and output
<unknown>:0: note: loc(fused["StatefulPartitionedCall:", "StatefulPartitionedCall"]): called from
"""
SIXTEEN = "Quantization to 16x8-bit not yet supported for op: 'DIV'.\n" * 9


def test_operators_without_a_kernel_are_all_named_with_the_layer_where_it_is_known() -> None:
    assert reason(ValueError(NO_KERNEL)) == (
        "TFLite has no operator for TensorFlow's AsString (at text/a_3), StringToNumber, EagerPyFunc"
    )


def test_of_the_dump_of_the_program_only_the_first_error_is_left() -> None:
    assert reason(ValueError(TRANSPOSE)) == "'tfl.transpose' op has mismatched quantized axes of input and output"


def test_a_line_that_is_said_many_times_is_said_once() -> None:
    assert reason(RuntimeError(SIXTEEN)) == "Quantization to 16x8-bit not yet supported for op: 'DIV'."


@pytest.mark.parametrize("text", ["", "\n \n", "x" * 5000, "a\nb\nc"])
def test_whatever_is_said_becomes_one_line_of_limited_length(text: str) -> None:
    said = reason(ValueError(text))
    assert said
    assert "\n" not in said
    assert len(said) <= MAX_REASON_CHARACTERS
