"""Frames: how a message and its blob become bytes on a pipe.

::

    4 bytes  length of the header, unsigned, big-endian
    header   JSON object, UTF-8; with a blob it has "blob": {"bytes": N, "sha256": HEX}
    blob     N raw bytes

Base64 would cost a third more bytes; the hash is checked on both sides because SSH protects the wire, not the
programs at its ends.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Dict, Optional, Protocol

from edgepress_agent.protocol.codec import WireError, dumps, loads

MAX_HEADER_BYTES = 1 << 20
MAX_BLOB_BYTES = 8 << 20
CHUNK_BYTES = 1 << 20  # what uploads and fetches use

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1 << 16


class ByteStream(Protocol):
    """The read half of a pipe: ``read(n)`` returns up to n bytes, and b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Frame:
    """A header (JSON object, without its "blob" entry) and its blob, or None."""

    header: Dict[str, Any]
    blob: Optional[bytes] = None


class StreamEnded(EOFError):
    """The other side closed the stream. ``mid_frame`` says whether a frame was cut."""

    def __init__(self, mid_frame: bool) -> None:
        super().__init__("the stream ended inside a frame" if mid_frame else "the stream ended")
        self.mid_frame = mid_frame


def encode_frame(header: Dict[str, Any], blob: Optional[bytes] = None) -> bytes:
    """Return the bytes of a frame.

    Raises:
        WireError: header or blob is larger than a frame may be.
    """
    if blob is not None:
        header = {**header, "blob": {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}}
    text = dumps(header)
    if len(text) > MAX_HEADER_BYTES:
        raise WireError(f"header of {len(text)} bytes; at most {MAX_HEADER_BYTES} fit a frame")
    if blob is not None and len(blob) > MAX_BLOB_BYTES:
        raise WireError(f"blob of {len(blob)} bytes; at most {MAX_BLOB_BYTES} fit a frame")
    return _LENGTH.pack(len(text)) + text + (blob or b"")


def write_frame(stream: BinaryIO, header: Dict[str, Any], blob: Optional[bytes] = None) -> None:
    """Write a frame and flush it."""
    stream.write(encode_frame(header, blob))
    stream.flush()


def read_frame(stream: ByteStream) -> Frame:
    """Read the next frame.

    Raises:
        StreamEnded: the stream ended, between frames or inside one.
        WireError: a length over the limits, a header that is not a JSON object, a blob whose hash is wrong.
            After it the stream is out of step and must be closed.
    """
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size, mid_frame=False))
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise WireError(f"header length {length}; between 2 and {MAX_HEADER_BYTES} are allowed")
    header = loads(_read_exactly(stream, length))
    if not isinstance(header, dict):
        raise WireError(f"header is a {type(header).__name__}, not an object")
    announced = header.pop("blob", None)
    if announced is None:
        return Frame(header)
    if (
        not isinstance(announced, dict)
        or set(announced) != {"bytes", "sha256"}
        or type(announced["bytes"]) is not int
        or not 0 <= announced["bytes"] <= MAX_BLOB_BYTES
    ):
        raise WireError(f'"blob" must have "bytes" of 0 to {MAX_BLOB_BYTES} and "sha256"')
    blob = _read_exactly(stream, announced["bytes"])
    if hashlib.sha256(blob).hexdigest() != announced["sha256"]:
        raise WireError("the blob's bytes do not have the announced sha256")
    return Frame(header, blob)


def _read_exactly(stream: ByteStream, size: int, mid_frame: bool = True) -> bytes:
    # As much at a time as a pipe holds: a larger buffer would be made anew for each read, and filled in part. BytesIO
    # gives its bytes away without a copy.
    parts = io.BytesIO()
    left = size
    while left:
        part = stream.read(min(left, _READ_BYTES))
        if not part:
            raise StreamEnded(mid_frame=mid_frame or left < size)
        left -= parts.write(part)
    return parts.getvalue()
