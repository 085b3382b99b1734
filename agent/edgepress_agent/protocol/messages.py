"""The values that travel between host and board, and the verbs that carry them.

Every value is a frozen dataclass of JSON types. Units are in the names; ``None`` means "could not be known here",
never zero. The host checks what a board sends against these same classes with pydantic (strict, no unknown keys).

A request is the frame ``{"id": 7, "verb": "start", "params": {...}}``; its answer is exactly one of
``{"id": 7, "result": {...}}`` and ``{"id": 7, "error": {"code", "message", "details"}}``. Verbs:

=============== ============================================== =====================================================
verb            params (blob)                                  result (blob)
=============== ============================================== =====================================================
``hello``       --                                             :class:`Hello`
``facts``       --                                             :class:`DeviceFacts`
``stat``        ``sha256``                                     :class:`BlobState`: what the content store has of it
``upload``      ``sha256, offset, total_bytes`` (chunk)        :class:`BlobState`
``commit``      ``sha256, total_bytes``                        :class:`BlobState`, after hash, fsync and rename
``start``       :class:`JobSpec`                               :class:`JobState`
``jobs``        --                                             ``{"jobs": [JobState, ...]}``
``wait``        ``job_id, seen, timeout_s``                    :class:`JobState` once its ``revision`` is not ``seen``
``fetch``       ``job_id, name, offset, max_bytes``            :class:`FileChunk` (chunk)
``cancel``      ``job_id``                                     :class:`JobState`
``acknowledge`` ``job_id``                                     ``{}``: the job's directory is deleted
``lock``        --                                             :class:`LockState`
``activate``    :class:`ReleaseSpec`                           :class:`ReleaseState`
``releases``    ``app`` (None: of all)                         ``{"apps": [ReleaseState, ...]}``
``rollback``    :class:`RollbackSpec`                          :class:`ReleaseState`
``undeploy``    ``app``                                        ``{}``: the application has no release any more
``gc``          ``keep, dry_run``                              :class:`Collected`
``captures``    --                                             :class:`Captures`
=============== ============================================== =====================================================

A finished job leaves ``report.json`` (:class:`JobReport`) and, for ``evaluate``, ``outputs.npys``
(:mod:`edgepress_agent.protocol.tensors`) to be fetched. They are deleted when the job is acknowledged, or long
after anybody could still come back for them (:mod:`edgepress_agent.jobs`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from edgepress_agent.protocol.measurement import BenchmarkPlan as BenchmarkPlan
from edgepress_agent.protocol.measurement import BoardState as BoardState
from edgepress_agent.protocol.measurement import MeasurementWarning as MeasurementWarning
from edgepress_agent.protocol.measurement import Memory as Memory
from edgepress_agent.protocol.measurement import Phases as Phases
from edgepress_agent.protocol.measurement import ProcessRun as ProcessRun
from edgepress_agent.protocol.measurement import Reading as Reading
from edgepress_agent.protocol.measurement import SampleBlock as SampleBlock
from edgepress_agent.protocol.releases import Collected as Collected
from edgepress_agent.protocol.releases import HealthCheck as HealthCheck
from edgepress_agent.protocol.releases import Release as Release
from edgepress_agent.protocol.releases import ReleaseSpec as ReleaseSpec
from edgepress_agent.protocol.releases import ReleaseState as ReleaseState
from edgepress_agent.protocol.releases import RollbackSpec as RollbackSpec
from edgepress_agent.protocol.wire import Wire

# PROTOCOL_VERSION history. A change to any class or verb here needs a line:
#   1  first version
#   2  measurement: plans that stop by themselves and warm up until steady, sample blocks with a sentinel, readings of
#      the board while a worker runs, memory by phase, governor and affinity, the verb "captures"
#   3  releases: health checks, "rollback", "undeploy", "gc"; "releases" of all applications, with hash and time
PROTOCOL_VERSION = 3

JOB_KINDS = ("benchmark", "evaluate", "install")
# queued: waits for the board's lock. ended: report.json is complete. failed: report.json says why.
JOB_STATUSES = ("queued", "running", "ended", "failed", "cancelled")
DELEGATES = ("default", "none")

# Codes of an ``error`` answer and of :class:`Failure`. The host maps them to its own error classes.
ERROR_CODES = (
    "bad-request",  # the message cannot be understood
    "unknown-verb",
    "not-found",  # no such job, file, app or model
    "hash-mismatch",  # what arrived is not what was announced
    "disk-full",
    "no-runtime",  # no such TFLite runtime on this board
    "model-rejected",  # the runtime raised while loading or allocating
    "model-failed",  # the runtime raised while running
    "worker-killed",  # the worker died by a signal: details has "signal" and "phase"
    "deadline",  # a deadline of the plan passed
    "cancelled",
    "busy",  # the board's lock is held: details has the holder
    "install-failed",  # a runtime could not be installed: details has the end of the log
    "unhealthy",  # a health check failed after a switch: details has the end of what it said
    "internal",  # a fault of the agent's own: details has the traceback
)


@dataclass(frozen=True)
class Hello(Wire):
    """First answer of an agent, given before it imports anything but the standard library."""

    protocol: int
    agent_version: str
    agent_sha256: Optional[str]  # of the zipapp; None when it runs from a source tree or an installed package
    python_version: str
    home: str  # EDGEPRESS_HOME on the board, absolute
    pid: int


@dataclass(frozen=True)
class Runtime(Wire):
    """A TFLite runtime that a board can use."""

    name: str  # "tflite-runtime" | "ai-edge-litert"
    version: str
    python_version: str
    numpy_version: str
    python: str  # absolute path of the interpreter that has it


@dataclass(frozen=True)
class DeviceFacts(Wire):
    """What the agent read on the board. Nothing here is guessed: what cannot be read is None."""

    machine: str  # uname -m: the kernel's architecture, e.g. "aarch64"
    pointer_bits: int  # of the Python in use: 32 under a 64-bit kernel means a 32-bit userland
    model: Optional[str]  # /proc/device-tree/model, or the DMI product name
    compatible: Tuple[str, ...]  # /proc/device-tree/compatible
    cpu_model: Optional[str]
    cpu_parts: Tuple[str, ...]  # ARM part numbers, e.g. "0xd08" for Cortex-A72; distinct, in order
    cpu_features: Tuple[str, ...]
    cpu_count: int
    cpu_max_hz: Optional[int]  # of the fastest CPU
    governor: Optional[str]
    memory_total_bytes: int
    disk_free_bytes: int  # where EDGEPRESS_HOME is
    kernel: str
    os_id: Optional[str]  # "debian", "raspbian", ...
    os_version: Optional[str]
    libc: Optional[str]  # e.g. "glibc 2.36"
    python_version: str
    has_venv: bool
    physical_id: Optional[str]  # sha256 of the board's serial number or machine id, never the thing itself
    physical_id_source: Optional[str]  # "device-tree" | "dmi" | "machine-id"
    boot_id: Optional[str]
    emulated: bool  # QEMU and the like: milliseconds say nothing about real hardware
    temperature_c: Optional[float]
    throttled_bits: Optional[int]  # vcgencmd get_throttled
    load_1min: float
    runtimes: Tuple[Runtime, ...]


@dataclass(frozen=True)
class BlobState(Wire):
    """What the content store has of a blob."""

    sha256: str
    present: bool  # complete, verified and durable
    received_bytes: int  # length of the part that can be resumed; the whole size when present


@dataclass(frozen=True)
class Configuration(Wire):
    """One model under one way of running it."""

    model_sha256: str
    runtime_name: str
    runtime_version: Optional[str]  # None: the only or the newest one on the board
    threads: int = 1
    delegate: str = "default"  # "default": what the runtime does by itself; "none": no delegate


@dataclass(frozen=True)
class InstallSpec(Wire):
    """A runtime to be installed into a venv of its own on the board, by the board, from its package index."""

    name: str
    version: str
    requirements: Tuple[str, ...]  # exact requirements as pip takes them


@dataclass(frozen=True)
class JobSpec(Wire):
    """A job: everything that runs a model, and the installation of a runtime."""

    kind: str  # one of JOB_KINDS
    requested_by: str  # "user@host": shown to others who wait for the board
    configurations: Tuple[Configuration, ...] = ()  # benchmark: one or more; evaluate: exactly one
    plan: Optional[BenchmarkPlan] = None
    inputs_sha256: Optional[str] = None  # evaluate: float arrays in model order; benchmark: None means random
    input_positions: Tuple[int, ...] = ()  # where model input i stands among the interpreter's inputs
    output_positions: Tuple[int, ...] = ()
    install: Optional[InstallSpec] = None
    deadline_s: float = 600.0  # evaluate and install
    set_governor: bool = False  # benchmark: to "performance" by `sudo -n` while it lasts, and back


@dataclass(frozen=True)
class Failure(Wire):
    """An error as a value: a wire answer's ``error``, and what a job's report says when it failed."""

    code: str  # one of ERROR_CODES
    message: str
    details: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LockState(Wire):
    """The board's lock: one job at a time, whoever asks."""

    held: bool
    job_id: Optional[str] = None
    requested_by: Optional[str] = None
    since_unix_ns: Optional[int] = None


@dataclass(frozen=True)
class JobState(Wire):
    """Where a job stands. ``revision`` grows with every change, so that a host can wait for the next one."""

    job_id: str
    kind: str
    status: str  # one of JOB_STATUSES
    revision: int
    done: int  # of total: worker processes for benchmark, samples for evaluate, steps for install
    total: int
    message: str  # what it does now, for a progress bar
    requested_by: str
    started_unix_ns: Optional[int]
    waits_for: Optional[LockState]  # queued: who holds the board
    files: Tuple[str, ...]  # what can be fetched now


@dataclass(frozen=True)
class FileChunk(Wire):
    """A piece of a job's file; the bytes are the frame's blob."""

    name: str
    offset: int
    total_bytes: int
    sha256: str  # of the whole file


@dataclass(frozen=True)
class RunReport(Wire):
    """One configuration as it was measured: raw samples by process, memory, and the state of the board."""

    configuration: Configuration
    runtime: Runtime
    delegate_nodes: int  # operators that a delegate took over as one node each; 0: none
    operator_nodes: int
    processes: Tuple[ProcessRun, ...]
    failures: Tuple[Failure, ...]  # processes that did not finish
    warnings: Tuple[MeasurementWarning, ...]
    half_width: Optional[float] = None  # reached by a plan with target_half_width


@dataclass(frozen=True)
class EvaluateReport(Wire):
    """Outputs of a model on a file of inputs; the arrays are in ``outputs.npys``, raw (not dequantized)."""

    configuration: Configuration
    runtime: Runtime
    delegate_nodes: int
    operator_nodes: int
    samples: int
    outputs_sha256: str
    latency_ns: Tuple[int, ...]  # of each inference; untidy on purpose: no warm-up, for progress and sanity only
    memory: Memory


@dataclass(frozen=True)
class JobReport(Wire):
    """``report.json`` of a job that ended, failed or was cancelled."""

    protocol: int
    job_id: str
    kind: str
    status: str
    started_unix_ns: int
    ended_unix_ns: int
    agent_version: str
    facts: Optional[DeviceFacts]
    plan: Optional[BenchmarkPlan] = None
    runs: Tuple[RunReport, ...] = ()  # in the order of the configurations
    evaluation: Optional[EvaluateReport] = None
    installed: Optional[Runtime] = None
    states: Tuple[BoardState, ...] = ()  # before, between and after worker processes
    failure: Optional[Failure] = None


@dataclass(frozen=True)
class Captures(Wire):
    """What a board's files and programs say, as they say it, without serial numbers: for a report or a new profile."""

    files: Dict[str, Any]  # path below the root -> text
    commands: Dict[str, Any]  # command line -> output
