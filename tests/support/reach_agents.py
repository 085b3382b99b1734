"""Scripted agents for tests of devices and deployment, and the facts of a Raspberry Pi 4 under Debian 12."""

from __future__ import annotations

import hashlib
from typing import Any

from edgepress.transport.fake import Answer, Refusal, Verb
from edgepress_agent.protocol.messages import (
    PROTOCOL_VERSION,
    BlobState,
    DeviceFacts,
    Failure,
    Hello,
    Runtime,
)

HELLO = Hello(PROTOCOL_VERSION, "0.1.0", None, "3.11.2", "/home/pi/.edgepress", 7)
LITERT = Runtime("ai-edge-litert", "2.1.6", "3.11.2", "2.2.6", "/home/pi/.edgepress/runtimes/a/bin/python")
TFLITE = Runtime("tflite-runtime", "2.14.0", "3.11.2", "1.26.4", "/home/pi/.edgepress/runtimes/b/bin/python")
PI4 = DeviceFacts(
    machine="aarch64",
    pointer_bits=64,
    model="Raspberry Pi 4 Model B Rev 1.5",
    compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
    cpu_model=None,
    cpu_parts=("0xd08",),
    cpu_features=("fp", "asimd", "evtstrm", "crc32", "cpuid"),
    cpu_count=4,
    cpu_max_hz=1_800_000_000,
    governor="ondemand",
    memory_total_bytes=4 << 30,
    disk_free_bytes=8 << 30,
    kernel="6.6.51",
    os_id="debian",
    os_version="12",
    libc="glibc 2.36",
    python_version="3.11.2",
    has_venv=True,
    physical_id="ab" * 32,
    physical_id_source="device-tree",
    boot_id=None,
    emulated=False,
    temperature_c=48.3,
    throttled_bits=0,
    load_1min=0.0,
    runtimes=(),
)


class MemoryStore:
    """A board's content store in memory: the verbs ``stat``, ``upload`` and ``commit``.

    Attributes:
        part: what of an upload has arrived.
        complete: committed content by hash.
        received_bytes: payload over all uploads.
    """

    def __init__(self, part: bytes = b"") -> None:
        self.part = part
        self.complete: dict[str, bytes] = {}
        self.received_bytes = 0

    def verbs(self) -> dict[str, Verb]:
        return {"stat": self.stat, "upload": self.upload, "commit": self.commit}

    def stat(self, params: dict[str, Any], _: bytes | None) -> Answer:
        content = self.complete.get(params["sha256"])
        size = len(self.part if content is None else content)
        return Answer(BlobState(params["sha256"], content is not None, size))

    def upload(self, params: dict[str, Any], chunk: bytes | None) -> Answer:
        assert chunk is not None
        assert params["offset"] == len(self.part)
        self.part += chunk
        self.received_bytes += len(chunk)
        return self.stat(params, None)

    def commit(self, params: dict[str, Any], _: bytes | None) -> Answer:
        assert params["total_bytes"] == len(self.part)
        content, self.part = self.part, b""
        if hashlib.sha256(content).hexdigest() != params["sha256"]:
            raise Refusal(Failure("hash-mismatch", "other bytes"))
        self.complete[params["sha256"]] = content
        return self.stat(params, None)
