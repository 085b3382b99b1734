"""Frames as nobody sends them on purpose, made from frames as hosts send them."""

from __future__ import annotations

import io
import json
import random
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.frames import encode_frame, read_frame
from edgepress_agent.protocol.messages import (
    BenchmarkPlan,
    Configuration,
    HealthCheck,
    InstallSpec,
    JobSpec,
    ReleaseSpec,
    RollbackSpec,
)
from edgepress_agent.server import Server

SHA256 = "0123456789abcdef" * 4
_PLAN = BenchmarkPlan("p", 1, 1, 1, 1, 1, 1, 1, 1.0, 1.0)
# Verb and parameters; `facts` and `captures` read the board for milliseconds and take no parameters.
REQUESTS: tuple[tuple[str, dict[str, Any], bytes | None], ...] = (
    ("hello", {}, None),
    ("stat", {"sha256": SHA256}, None),
    ("upload", {"sha256": SHA256, "offset": 0, "total_bytes": 300}, b"x" * 30),
    ("commit", {"sha256": SHA256, "total_bytes": 300}, None),
    ("start", to_wire(JobSpec("benchmark", "me@here", (Configuration(SHA256, "tflite-runtime", None),), _PLAN)), None),
    ("start", to_wire(JobSpec("install", "me@here", install=InstallSpec("x", "1.0", ("numpy<2",)))), None),
    ("jobs", {}, None),
    ("wait", {"job_id": "20260101T000000000-abcdef01", "seen": 0, "timeout_s": 1.5}, None),
    ("fetch", {"job_id": "../../etc", "name": "passwd", "offset": 0, "max_bytes": 1 << 20}, None),
    ("cancel", {"job_id": "20260101T000000000-abcdef01"}, None),
    ("acknowledge", {"job_id": "20260101T000000000-abcdef01"}, None),
    ("lock", {}, None),
    ("activate", to_wire(ReleaseSpec("digits", SHA256, {"a": [1.5]}, HealthCheck("x.service", ("true",), 5.0))), None),
    ("releases", {"app": None}, None),
    ("rollback", to_wire(RollbackSpec("../x", "000001-0123456789ab")), None),
    ("undeploy", {"app": "digits"}, None),
    ("gc", {"keep": 3, "dry_run": True}, None),
)
# What stands in the place of some value.
_VALUES = (
    b"NaN", b"-Infinity", b"1e999", b"1" * 400, b"null", b"true", b"-1", b"0", b"9223372036854775808", b'""',
    b'"../../../etc/passwd"', b'"/etc/passwd"', b'"a\\u0000b"', b'"\\ud800"', b'"' + b"x" * 5000 + b'"', b"[" * 2000,
    b"[]", b"{}", b'"\xff\xfe"', b'{"a":1,"a":2}', b'"\xf0\x9f\x92\xa9"', b'"\\u001b]0;owned\\u0007"', b"0.1",
)  # fmt: skip
_LENGTHS = (0, 1, 2, 3, 1 << 20, (1 << 20) + 1, (1 << 31) - 1, (1 << 32) - 1)


def frames(seed: int) -> Iterator[bytes]:
    """Yield frames without end: one in eight as it should be, the others changed in the header, in its JSON, or
    anywhere."""
    choose = random.Random(seed)
    while True:
        number = choose.randrange(1, 1 << 20)
        verb, params, blob = choose.choice(REQUESTS)
        frame = encode_frame({"id": number, "verb": verb, "params": params}, blob)
        kind = choose.randrange(8)
        if kind == 0:
            yield frame
        elif kind == 1:
            yield struct.pack(">I", choose.choice(_LENGTHS)) + frame[4:]
        elif kind <= 5:
            yield _with_another_header(choose, frame)
        else:
            yield _with_other_bytes(choose, frame)


def _with_another_header(choose: random.Random, frame: bytes) -> bytes:
    """Change JSON as text, and give the length that it has then."""
    (length,) = struct.unpack(">I", frame[:4])
    header, blob = frame[4 : 4 + length], frame[4 + length :]
    for _ in range(choose.choice((1, 1, 2))):
        colons = [place for place, byte in enumerate(header) if byte == ord(":")]
        place = choose.choice(colons) + 1 if colons else 0
        end = next((i for i in range(place, len(header)) if header[i : i + 1] in b",}]"), len(header))
        change = choose.randrange(4)
        if change == 0:  # another value
            header = header[:place] + choose.choice(_VALUES) + header[end:]
        elif change == 1:  # a key again, or one that nobody knows
            key = choose.choice((b'"id"', b'"params"', b'"x"', b'"blob"', b'"sha256"', b'"\\u0000"'))
            header = header[:-1] + b"," + key + b":" + choose.choice(_VALUES) + b"}"
        elif change == 2:  # a key less
            header = header[:place] + header[end + 1 :]
        else:
            header = _with_other_bytes(choose, header)
    return struct.pack(">I", len(header)) + header + blob


def _with_other_bytes(choose: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 8))):
        place = choose.randrange(len(changed) or 1)
        change = choose.randrange(4)
        if change == 0 and changed:
            changed[place] ^= 1 << choose.randrange(8)
        elif change == 1:
            changed[place:place] = choose.randbytes(choose.choice((1, 4, 100)))
        elif change == 2:
            del changed[place : place + choose.choice((1, 4, 100))]
        else:
            del changed[place:]
    return bytes(changed)


class Conversation(io.BytesIO):
    """What a host sent, with the descriptor that a server wants to watch."""

    def __init__(self, data: bytes, descriptor: int) -> None:
        super().__init__(data)
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


def answers(root: Path, frame: bytes, descriptor: int) -> Counter[str]:
    """Hand a server one frame, alone, and return the codes of its answers ("ok" for results).

    Raises whatever comes out of the server, which nothing should.
    """
    out = io.BytesIO()
    Server(Home(root), Conversation(frame, descriptor), out).serve()
    out.seek(0)
    codes: Counter[str] = Counter()
    while out.tell() < len(out.getvalue()):
        header = read_frame(out).header
        json.dumps(header, allow_nan=False)
        codes[header["error"]["code"] if "error" in header else "ok"] += 1
    return codes
