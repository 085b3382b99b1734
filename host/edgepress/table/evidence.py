"""Raw samples and provenance of a row as bytes: JSON, compressed.

JSON because a stored row must be readable in ten years and by others. Compressed, a sample takes 1.2 bytes, packed
integers would take 1.0 (250,000 samples of a model of 4 us).
"""

from __future__ import annotations

import zlib
from dataclasses import asdict
from typing import Any

from edgepress.errors import TableError
from edgepress.table.result import Evidence, ForeignSource, Provenance
from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import BenchmarkPlan, BoardState, DeviceFacts, RunReport

# SCHEMA history. A change to the document needs a line, and a reader for the versions before it:
#   1  first version
#   2  a row of another tool has "foreign" (its name and text) instead of run, plan, facts, states and compression
#   3  "provenance": what the workstation added
#   4  "rules" in it
SCHEMA = 4
_READABLE = (1, 3, SCHEMA)
FOREIGN_SCHEMA = 2


def encode_evidence(evidence: Evidence) -> bytes:
    """Return the bytes that the database keeps."""
    return pack(evidence_document(evidence))


def encode_foreign(source: ForeignSource) -> bytes:
    """Return the bytes that the database keeps of a row of another tool."""
    return pack({"schema": FOREIGN_SCHEMA, "foreign": {"tool": source.tool, "text": source.text}})


def evidence_document(evidence: Evidence) -> dict[str, Any]:
    """The evidence as JSON values."""
    return {
        "schema": SCHEMA,
        "run": to_wire(evidence.run),
        "plan": to_wire(evidence.plan),
        "facts": to_wire(evidence.facts) if evidence.facts else None,
        "states": [to_wire(state) for state in evidence.states],
        "compression": evidence.compression,
        "provenance": asdict(evidence.provenance) if evidence.provenance else None,
    }


def pack(document: dict[str, Any]) -> bytes:
    """JSON values as the database keeps them."""
    return zlib.compress(dumps(document), level=6)


def unpack(data: bytes, what: str = "the samples of this row") -> dict[str, Any]:
    """What :func:`pack` packed.

    Raises:
        TableError: the bytes are damaged.
    """
    try:
        document: dict[str, Any] = loads(zlib.decompress(data))
    except (zlib.error, WireError) as error:
        raise TableError(f"{what} are damaged: {error}") from error
    return document


def decode_evidence(data: bytes) -> Evidence:
    """Read what :func:`encode_evidence` wrote.

    Raises:
        TableError: the bytes are damaged, from another version, or of a row that another tool measured.
    """
    return evidence_of(unpack(data))


def evidence_of(document: dict[str, Any]) -> Evidence:
    """Read what :func:`evidence_document` made; the errors are those of :func:`decode_evidence`."""
    try:
        if document["schema"] == FOREIGN_SCHEMA:
            raise TableError(
                f"this row was imported from {document['foreign']['tool']}: it has no raw samples; `edgepress bench` "
                "measures the file with some"
            )
        if document["schema"] not in _READABLE:
            raise TableError(
                f"the samples of this row have form {document['schema']}; this edgepress reads {SCHEMA}: upgrade it"
            )
        return Evidence(
            run=from_wire(RunReport, document["run"]),
            plan=from_wire(BenchmarkPlan, document["plan"]),
            facts=from_wire(DeviceFacts, document["facts"]) if document["facts"] else None,
            states=tuple(from_wire(BoardState, state) for state in document["states"]),
            compression=document["compression"],
            provenance=Provenance(**document["provenance"]) if document.get("provenance") else None,
        )
    except (WireError, KeyError, TypeError) as error:
        raise TableError(f"the samples of this row are damaged: {error}") from error
