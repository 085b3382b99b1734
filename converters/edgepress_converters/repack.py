"""The same model in fewer bytes: a .tflite file without what no runtime reads.

What goes: names of tensors inside the graph, metadata, descriptions, ranges that were seen in calibration, buffers that
say the same or nothing. What stays but is written once: shapes, quantization parameters, vectors and options that are
equal. Operators, constants and signatures are as they were, so that outputs are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepress_converters.flatbuffer import IDENTIFIER, unpacked

SMALL_FILE_BYTES = 8 << 20
"""Smaller files are repacked unless somebody says no. Larger ones keep the names, which cost them little."""

_ALIGNMENT = 16  # of constants, as the schema has it: kernels read them in place


def repack_file(path: Path) -> None:
    """Write a valid .tflite file anew, unless that would make it larger.

    Raises:
        OSError: it cannot be read or written.
    """
    content = path.read_bytes()
    smaller = repack(content)
    if len(smaller) < len(content):
        path.write_bytes(smaller)


def repack(content: bytes) -> bytes:
    """Return the same model in fewer bytes; see the module. ``content`` is a valid .tflite file below 2 GB."""
    model = unpacked(content)
    model.description, model.metadata, model.metadataBuffer = None, None, None
    buffers = _Buffers(model.buffers)
    for subgraph in model.subgraphs:
        subgraph.name = None
        borders = {*map(int, subgraph.inputs), *map(int, subgraph.outputs)}
        for index, tensor in enumerate(subgraph.tensors):
            tensor.buffer = buffers.place(tensor.buffer)
            if index not in borders:
                tensor.name = None
            if tensor.shapeSignature is not None and -1 not in tensor.shapeSignature:
                tensor.shapeSignature = None
            if tensor.quantization is not None:
                tensor.quantization.min = tensor.quantization.max = None
                tensor.quantization = _Once(tensor.quantization)
        for operator in subgraph.operators:
            for field in ("builtinOptions", "builtinOptions2"):
                if getattr(operator, field) is not None:
                    setattr(operator, field, _Once(getattr(operator, field)))
            for field in ("intermediates", "mutatingVariableInputs"):
                if getattr(operator, field) is not None and not len(getattr(operator, field)):
                    setattr(operator, field, None)
    model.buffers = buffers.used()
    builder = _Builder(len(content))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Buffers:
    """Those that tensors refer to, each content once; the first one is empty, as runtimes expect it."""

    def __init__(self, buffers: Sequence[Any]) -> None:
        self._contents = [b"" if buffer.data is None else bytes(buffer.data) for buffer in buffers]
        self._places: dict[bytes, int] = {b"": 0}

    def place(self, number: int) -> int:
        """Return the new number of a buffer that is in use."""
        return self._places.setdefault(self._contents[number], len(self._places))

    def used(self) -> list[Any]:
        return [_Constant(content) for content in self._places]


class _Constant(schema.BufferT):  # type: ignore[misc]
    """A buffer whose content is aligned, which the generated class leaves out."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def Pack(self, builder: _Builder) -> int:  # noqa: N802 (the schema's name)
        data = builder.aligned(self._content) if self._content else None
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class _Once:
    """A table that is written once for all that are equal to it."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def Pack(self, builder: _Builder) -> int:  # noqa: N802 (the schema's name)
        key = (type(self._table), *(_comparable(value) for value in vars(self._table).values()))
        return builder.once(key, lambda: self._table.Pack(builder))


def _comparable(value: Any) -> Any:
    return (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal vectors and strings once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[Any, int] = {}

    def once(self, key: Any, write: Callable[[], int]) -> int:
        """Return where the thing of this key is, written now or before."""
        if key not in self._written:
            self._written[key] = write()
        return self._written[key]

    def aligned(self, content: bytes) -> int:
        """Write the content of a constant."""
        self.StartVector(1, len(content), _ALIGNMENT)
        self.head -= len(content)
        self.Bytes[self.head : self.head + len(content)] = content
        return int(self.EndVector())

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 (the schema's name)
        return self.once(_comparable(x), lambda: super(_Builder, self).CreateNumpyVector(x))

    def CreateString(self, s: bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802 (the schema's name)
        return self.once(s, lambda: super(_Builder, self).CreateString(s, encoding, errors))
