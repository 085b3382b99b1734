"""Where the bytes of a .tflite file are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Int32Flags, Uint16Flags, Uint32Flags

from edgepress_converters.flatbuffer import read_model

PARTS = ("weights", "quantization", "names", "operators", "metadata", "structure")
"""Constants; scales, zero points and ranges; names and descriptions; operators with their options; metadata; and what
holds these together: tensors, shapes, offsets and alignment."""

# Places of fields in their tables, as the schema numbers them.
_MODEL = {"operator codes": 1, "description": 3, "metadata buffers": 5, "metadata": 6}
_SUBGRAPH = {"operators": 3, "name": 4}
_TENSOR = {"name": 3}
_QUANTIZATION = {"min": (0, 4), "max": (1, 4), "scale": (2, 4), "zero point": (3, 8)}  # and the bytes of an entry
_OPERATOR = {"inputs": 1, "outputs": 2}
_DATA, _NAME, _CUSTOM_CODE, _SIGNATURE_KEY = 0, 0, 1, 2


def composition(path: Path) -> dict[str, int]:
    """Return how many bytes of a file each of :data:`PARTS` has; together the whole file.

    What several tables share is counted once.

    Raises:
        NotTFLiteError: it is none, or it is damaged. OSError: it cannot be read.
    """
    read_model(path)  # which refuses damaged files
    content = path.read_bytes()
    ledger = _Ledger()
    _walk(schema.Model.GetRootAs(content, 0), ledger)
    counted = {part: ledger.bytes.get(part, 0) for part in PARTS}
    counted["structure"] = len(content) - sum(counted.values())
    return counted


class _Ledger:
    """Bytes by part; each place of the file counts once, for who comes first."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self._seen: set[int] = set()

    def count(self, part: str, position: int, size: int) -> None:
        if position not in self._seen:
            self._seen.add(position)
            self.bytes[part] = self.bytes.get(part, 0) + size

    def table(self, part: str, table: Any) -> None:
        """Count a table itself: what it refers to is elsewhere."""
        entries = table.Pos - table.Get(Int32Flags, table.Pos)
        self.count(part, table.Pos, table.Get(Uint16Flags, entries + 2))

    def vector(self, part: str, table: Any, field: int, item_bytes: int, *, terminated: bool = False) -> None:
        """Count a vector or string that a table's field refers to, with its length and what fills it up to 4 bytes."""
        offset = table.Offset(4 + 2 * field)
        if offset:
            start = table.Vector(offset)
            size = table.Get(Uint32Flags, start - 4) * item_bytes + terminated
            self.count(part, start - 4, 4 + -(-size // 4) * 4)

    def name(self, table: Any, field: int, part: str = "names") -> None:
        self.vector(part, table, field, 1, terminated=True)


def _walk(model: Any, ledger: _Ledger) -> None:
    ledger.name(model._tab, _MODEL["description"])
    metadata = set()
    for entry in _all(model, "Metadata"):
        metadata.add(entry.Buffer())
        ledger.table("metadata", entry._tab)
        ledger.name(entry._tab, _NAME, "metadata")
    ledger.vector("metadata", model._tab, _MODEL["metadata"], 4)
    ledger.vector("metadata", model._tab, _MODEL["metadata buffers"], 4)
    for index, buffer in enumerate(_all(model, "Buffers")):
        part = "metadata" if index in metadata else "weights"
        ledger.vector(part, buffer._tab, _DATA, 1)
        if buffer.Offset() > 1:  # behind the flatbuffer
            ledger.count(part, buffer.Offset(), buffer.Size())
    for code in _all(model, "OperatorCodes"):
        ledger.table("operators", code._tab)
        ledger.name(code._tab, _CUSTOM_CODE)
    ledger.vector("operators", model._tab, _MODEL["operator codes"], 4)
    for signature in _all(model, "SignatureDefs"):
        ledger.name(signature._tab, _SIGNATURE_KEY)
        for tensor in (*_all(signature, "Inputs"), *_all(signature, "Outputs")):
            ledger.name(tensor._tab, _NAME)
    for subgraph in _all(model, "Subgraphs"):
        _walk_subgraph(subgraph, ledger)


def _walk_subgraph(subgraph: Any, ledger: _Ledger) -> None:
    ledger.name(subgraph._tab, _SUBGRAPH["name"])
    ledger.vector("operators", subgraph._tab, _SUBGRAPH["operators"], 4)
    for tensor in _all(subgraph, "Tensors"):
        ledger.name(tensor._tab, _TENSOR["name"])
        quantization = tensor.Quantization()
        if quantization is not None:
            ledger.table("quantization", quantization._tab)
            for field, item_bytes in _QUANTIZATION.values():
                ledger.vector("quantization", quantization._tab, field, item_bytes)
    for operator in _all(subgraph, "Operators"):
        ledger.table("operators", operator._tab)
        for field in _OPERATOR.values():
            ledger.vector("operators", operator._tab, field, 4)
        options = operator.BuiltinOptions()
        if options is not None:
            ledger.table("operators", options)


def _all(table: Any, field: str) -> Iterator[Any]:
    for index in range(getattr(table, f"{field}Length")()):
        yield getattr(table, field)(index)
