from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from edgepress_agent.protocol.tensors import decode_arrays, dequantize, encode_arrays, quantize

dtypes = st.sampled_from(["<f4", "<f8", "|i1", "|u1", "<i2", "<i4", "<i8", "|b1"]).map(np.dtype)
arrays = dtypes.flatmap(lambda dtype: st_np.arrays(dtype, st_np.array_shapes(min_dims=0, min_side=0, max_side=4)))


@given(st.lists(arrays, max_size=4))
def test_arrays_come_back_with_their_shape_type_and_bytes(sent: list[np.ndarray]) -> None:
    received = decode_arrays(encode_arrays(sent))
    assert [(a.shape, a.dtype, a.tobytes()) for a in received] == [(a.shape, a.dtype, a.tobytes()) for a in sent]


def test_equal_arrays_have_equal_bytes_whatever_their_layout() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert encode_arrays([array.T.copy().T]) == encode_arrays([array])


ARRAY = encode_arrays([np.zeros(5)])


@pytest.mark.parametrize("content", [b"x", b"\x93NUMPY", b"PK\3\4 an .npz", ARRAY + b"more", ARRAY[:-1]])
def test_bytes_that_are_no_arrays_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a file of \.npy arrays: "):
        decode_arrays(content)


def test_objects_are_refused_in_both_directions() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        encode_arrays([np.array([object()])])


@given(st_np.arrays(np.int8, 20), st.floats(1e-4, 10), st.integers(-128, 127))
def test_what_was_dequantized_quantizes_to_itself(raw: np.ndarray, scale: float, zero_point: int) -> None:
    real = dequantize(raw, scale, zero_point)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(quantize(real, np.int8, scale, zero_point), raw)


def test_values_outside_the_range_are_saturated_and_halves_go_to_even() -> None:
    values = np.array([-1e9, -0.25, 0.25, 0.75, 1e9])
    np.testing.assert_array_equal(quantize(values, np.int8, 0.5, 3), [-128, 3, 3, 5, 127])


def test_without_a_scale_integers_are_rounded_and_floats_cast() -> None:
    np.testing.assert_array_equal(quantize(np.array([1.4, 300.0]), np.uint8, None, None), [1, 255])
    assert quantize(np.array([1.5]), np.float32, None, None).dtype == np.float32
    np.testing.assert_array_equal(dequantize(np.array([7], np.int32), None, None), [7.0])
