"""Files as other writers write them."""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def with_constants_behind(content: bytes) -> bytes:
    """Return the same model with its constants behind the flatbuffer, as ai-edge-quantizer writes large ones."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    constants = [
        (buffer, bytes(buffer.data)) for buffer in model.buffers if buffer.data is not None and len(buffer.data)
    ]
    for buffer, data in constants:
        buffer.data, buffer.offset, buffer.size = None, 2, len(data)  # any number: it takes the same room
    whole = bytearray(_packed(model))
    for buffer, data in constants:
        whole += bytes(-len(whole) % 16)
        buffer.offset = len(whole)
        whole += data
    front = _packed(model)
    return front + bytes(whole[len(front) :])


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
