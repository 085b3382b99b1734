from __future__ import annotations

import io
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_agent.protocol.codec import WireError
from edgepress_agent.protocol.frames import (
    MAX_HEADER_BYTES,
    Frame,
    StreamEnded,
    encode_frame,
    read_frame,
    write_frame,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
headers = st.dictionaries(st.text().filter(lambda key: key != "blob"), json_values, max_size=4)
blobs = st.none() | st.binary(max_size=200)


class OneByteAtATime(io.BytesIO):
    """A pipe may give less than was asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 1, 1))


@settings(max_examples=50)
@given(headers, blobs)
def test_a_frame_comes_back_as_it_was(header: dict[str, object], blob: bytes | None) -> None:
    assert read_frame(OneByteAtATime(encode_frame(header, blob))) == Frame(header, blob)


@given(st.lists(st.tuples(headers, blobs), max_size=3))
def test_frames_follow_each_other_until_the_stream_ends(
    frames: list[tuple[dict[str, object], bytes | None]],
) -> None:
    stream = io.BytesIO()
    for header, blob in frames:
        write_frame(stream, header, blob)
    stream.seek(0)
    assert [read_frame(stream) for _ in frames] == [Frame(header, blob) for header, blob in frames]
    with pytest.raises(StreamEnded) as ended:
        read_frame(stream)
    assert not ended.value.mid_frame


@given(headers, blobs, st.data())
def test_a_frame_cut_anywhere_is_known_to_be_cut(
    header: dict[str, object], blob: bytes | None, data: st.DataObject
) -> None:
    whole = encode_frame(header, blob)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(StreamEnded) as ended:
        read_frame(io.BytesIO(whole[:cut]))
    assert ended.value.mid_frame


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_one_of_two_errors(content: bytes) -> None:
    try:
        frame = read_frame(io.BytesIO(content))
    except (StreamEnded, WireError):
        return
    assert isinstance(frame.header, dict)


@given(st.binary(min_size=2, max_size=300))
def test_any_header_is_an_object_or_one_of_two_errors(header: bytes) -> None:
    try:
        frame = read_frame(io.BytesIO(struct.pack(">I", len(header)) + header))
    except (StreamEnded, WireError):
        return
    assert frame.header == {key: value for key, value in json.loads(header).items() if key != "blob"}


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_in_a_blob_is_noticed(blob: bytes, data: st.DataObject) -> None:
    content = bytearray(encode_frame({"id": 1}, blob))
    position = data.draw(st.integers(len(content) - len(blob), len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WireError, match="sha256"):
        read_frame(io.BytesIO(content))


@pytest.mark.parametrize("length", [0, 1, MAX_HEADER_BYTES + 1, 2**32 - 1])
def test_a_length_outside_the_limits_is_refused_before_anything_is_read(length: int) -> None:
    with pytest.raises(WireError, match="length"):
        read_frame(io.BytesIO(struct.pack(">I", length)))


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"nul",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"blob":7}',
        b'{"blob":{"bytes":-1,"sha256":""}}',
        b'{"blob":{"bytes":true,"sha256":""}}',
        b'{"blob":{"bytes":1099511627776,"sha256":""}}',
    ],
)
def test_a_header_that_is_no_plain_object_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        read_frame(io.BytesIO(struct.pack(">I", len(header)) + header))
