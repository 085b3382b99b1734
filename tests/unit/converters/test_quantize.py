"""The second backend: ai-edge-quantizer on what TensorFlow's converter wrote in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepress.verification.reference import run_file, to_real
from edgepress_converters.errors import ConversionRefusedError, UnexpectedFloatError
from edgepress_converters.pool import WorkerPool
from support import models_small

pytest.importorskip("ai_edge_quantizer")


# Of the range of the outputs. Four bits are 15 levels.
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"format": "dynamic"}, 5e-2),
        ({"format": "int8"}, 1e-1),
        ({"format": "int8", "io": "float32"}, 1e-1),
        ({"format": "int16x8"}, 3e-2),
        ({"format": "float32", "int4_weights": ("*",)}, 3e-1),
        ({"format": "dynamic", "int4_weights": ("FULLY_CONNECTED",)}, 3e-1),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [models_small.residual_cnn, models_small.many_in_many_out])
def test_a_quantized_file_computes_what_the_keras_model_does(
    make: Any, options: dict[str, Any], tolerance: float, convert: Any, exported: Any, worker_pool: WorkerPool
) -> None:
    file = convert(make, backend="ai-edge-quantizer", **options)
    keras_model, _ = exported(make)
    inputs = models_small.inputs_for(keras_model, 20)
    expected = keras_model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    for got, wanted in zip(
        to_real(file, run_file(file, inputs, worker_pool)),
        expected if isinstance(expected, list) else [expected],
        strict=True,
    ):
        assert np.abs(got - wanted).max() <= tolerance * np.ptp(wanted)
    kinds = {spec.dtype for spec in (*file.inputs, *file.outputs)} - {"int32"}
    assert kinds == {"int8" if options == {"format": "int8"} else "float32"}
    assert ("INT4" in dict(file.tensor_types)) is ("int4_weights" in options)


def test_the_weights_of_a_single_layer_may_get_four_bits(convert: Any) -> None:
    file = convert(models_small.residual_cnn, backend="ai-edge-quantizer", format="dynamic", int4_weights=("stem",))
    assert dict(file.tensor_types)["INT4"] == 1


def test_a_layer_that_cannot_have_four_bits_is_refused(convert: Any) -> None:
    wanted = ("depthwise",)
    with pytest.raises(ConversionRefusedError, match=r"no int4 weights .*\(depthwise\); it has them for"):
        convert(models_small.residual_cnn, backend="ai-edge-quantizer", format="dynamic", int4_weights=wanted)


def test_a_name_that_nothing_is_called_by_is_refused_with_what_there_is(convert: Any) -> None:
    with pytest.raises(ConversionRefusedError, match=r"names 'conv9', which is neither .* ADD, CONV_2D, "):
        convert(models_small.residual_cnn, backend="ai-edge-quantizer", format="dynamic", int4_weights=("conv9",))


def test_what_it_leaves_in_float_is_named_as_for_the_other_backend(convert: Any) -> None:
    with pytest.raises(UnexpectedFloatError, match="NEG"):
        convert(models_small.layer_norm, backend="ai-edge-quantizer", format="int8")
