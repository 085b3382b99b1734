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
``releases``    ``app``                                        :class:`ReleaseState`
``captures``    --                                             :class:`Captures`
=============== ============================================== =====================================================

A finished job leaves ``report.json`` (:class:`JobReport`) and, for ``evaluate``, ``outputs.npys``
(:mod:`edgepress_agent.protocol.tensors`) to be fetched. They are deleted when the job is acknowledged, or long
after anybody could still come back for them (:mod:`edgepress_agent.jobs`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, Optional, Tuple

# PROTOCOL_VERSION history. A change to any class or verb here needs a line:
#   1  first version
#   2  measurement: plans that stop by themselves and warm up until steady, sample blocks with a sentinel, readings of
#      the board while a worker runs, memory by phase, governor and affinity, the verb "captures"
PROTOCOL_VERSION = 2

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
    "internal",  # a fault of the agent's own: details has the traceback
)


class _Wire:
    """Base of all messages. pydantic, where the host has it, reads this configuration from the class body."""

    __pydantic_config__: ClassVar[Dict[str, Any]] = {
        "strict": True,
        "extra": "forbid",
        "allow_inf_nan": False,
    }


@dataclass(frozen=True)
class Hello(_Wire):
    """First answer of an agent, given before it imports anything but the standard library."""

    protocol: int
    agent_version: str
    agent_sha256: Optional[str]  # of the zipapp; None when it runs from a source tree or an installed package
    python_version: str
    home: str  # EDGEPRESS_HOME on the board, absolute
    pid: int


@dataclass(frozen=True)
class Runtime(_Wire):
    """A TFLite runtime that a board can use."""

    name: str  # "tflite-runtime" | "ai-edge-litert"
    version: str
    python_version: str
    numpy_version: str
    python: str  # absolute path of the interpreter that has it


@dataclass(frozen=True)
class DeviceFacts(_Wire):
    """What the agent read on the board. Nothing here is guessed: what cannot be read is None."""

    machine: str  # uname -m: the kernel's architecture, e.g. "aarch64"
    pointer_bits: int  # of the Python in use: 32 under a 64-bit kernel means a 32-bit userland
    model: Optional[str]  # /proc/device-tree/model, or the DMI product name
    compatible: Tuple[str, ...]  # /proc/device-tree/compatible
    cpu_model: Optional[str]
    cpu_parts: Tuple[str, ...]  # ARM part numbers, e.g. "0xd08" for Cortex-A72; distinct, in order
    cpu_features: Tuple[str, ...]
    cpu_count: int
    cpu_max_hz: Optional[int]
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
class BlobState(_Wire):
    """What the content store has of a blob."""

    sha256: str
    present: bool  # complete, verified and durable
    received_bytes: int  # length of the part that can be resumed; the whole size when present


@dataclass(frozen=True)
class BenchmarkPlan(_Wire):
    """How a configuration is measured. One plan serves every configuration of a job."""

    name: str
    processes: int  # fresh worker processes per configuration, interleaved across configurations
    warmup_min_runs: int
    warmup_min_ns: int
    min_runs: int  # timed inferences per process: at least this many,
    min_duration_ns: int  # and at least this long,
    max_duration_ns: int  # but no longer than this
    seed: int  # of the order of configurations
    process_deadline_s: float
    job_deadline_s: float  # counted from the moment the job holds the board's lock
    # Warm-up goes on until the trace says that it is steady, at most this long; None: the fixed length above is all.
    steady_warmup_max_ns: Optional[int] = None
    # Timed inferences come in blocks of this length, the sentinel and the worker's own counters between them; 0: one.
    block_ns: int = 0
    block_max_runs: Optional[int] = None  # a block ends after so many
    untimed_between_ns: int = 0  # inferences between blocks that nobody times: load for a sustained measurement
    # Processes are added, a round at a time, until the interval of the median of their medians is this narrow (half of
    # it, as a fraction of the median), at most max_processes; None: `processes` is all.
    target_half_width: Optional[float] = None
    max_processes: Optional[int] = None
    # Before each process: wait until the CPU is no hotter, at most cool_down_max_s in the whole job; None: no gate.
    cool_to_c: Optional[float] = None
    cool_down_max_s: float = 0.0
    pinned: bool = False  # workers run on CPUs of their own, everything else of the job on the others


@dataclass(frozen=True)
class Configuration(_Wire):
    """One model under one way of running it."""

    model_sha256: str
    runtime_name: str
    runtime_version: Optional[str]  # None: the only or the newest one on the board
    threads: int = 1
    delegate: str = "default"  # "default": what the runtime does by itself; "none": no delegate


@dataclass(frozen=True)
class InstallSpec(_Wire):
    """A runtime to be installed into a venv of its own on the board, by the board, from its package index."""

    name: str
    version: str
    requirements: Tuple[str, ...]  # exact requirements as pip takes them


@dataclass(frozen=True)
class JobSpec(_Wire):
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
class Failure(_Wire):
    """An error as a value: a wire answer's ``error``, and what a job's report says when it failed."""

    code: str  # one of ERROR_CODES
    message: str
    details: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LockState(_Wire):
    """The board's lock: one job at a time, whoever asks."""

    held: bool
    job_id: Optional[str] = None
    requested_by: Optional[str] = None
    since_unix_ns: Optional[int] = None


@dataclass(frozen=True)
class JobState(_Wire):
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
class FileChunk(_Wire):
    """A piece of a job's file; the bytes are the frame's blob."""

    name: str
    offset: int
    total_bytes: int
    sha256: str  # of the whole file


@dataclass(frozen=True)
class Phases(_Wire):
    """The cold start of one worker process, by CLOCK_MONOTONIC. Never averaged into steady latency."""

    spawn_ns: int  # from fork to the first line of Python in the worker
    import_ns: int  # numpy and the runtime
    load_ns: int  # Interpreter(model_path)
    allocate_ns: int
    first_ns: int  # first inference


@dataclass(frozen=True)
class Memory(_Wire):
    """Memory of one worker process, from /proc/self/status of a fresh process (never ru_maxrss)."""

    import_rss_bytes: int  # after the runtime is imported, before the model is loaded
    load_peak_bytes: int  # VmHWM of load and allocate
    peak_rss_bytes: int  # VmHWM of all that came after the import: the largest of the phases'
    swap_bytes: int
    pss_bytes: Optional[int]  # at the end, outside the timed part
    first_peak_bytes: Optional[int] = None  # VmHWM of the first inference
    steady_peak_bytes: Optional[int] = None  # VmHWM of warm-up and timed part
    file_bytes: Optional[int] = None  # RssFile at the end: mapped from files, the kernel may drop it and read it again
    model_file_bytes: Optional[int] = None  # of it, the model's own file


@dataclass(frozen=True)
class SampleBlock(_Wire):
    """Timed inferences that followed each other, and what their process counted meanwhile. Times by CLOCK_MONOTONIC."""

    runs: int  # how many of samples_ns, in order
    started_ns: int
    ended_ns: int
    cpu_ns: int  # CPU time of the process, all its threads
    waited_ns: Optional[int]  # its threads stood in a run queue (schedstat)
    involuntary_switches: int
    major_faults: int
    sentinel_ns: int  # a fixed amount of work, timed after the block


@dataclass(frozen=True)
class Reading(_Wire):
    """The board while a worker ran, seen by the job's monitor. Counters are since boot."""

    taken_ns: int  # CLOCK_MONOTONIC
    cpu_hz: Optional[int]  # the lowest of the worker's CPUs
    temperature_c: Optional[float]
    throttled_bits: Optional[int]
    load_1min: float
    pressure_us: Optional[int]  # /proc/pressure/cpu, some
    steal_ns: Optional[int]  # of the worker's CPUs, together
    other_ns: Optional[int]  # CPU time on the worker's CPUs, whoever used it
    swapped_in_pages: Optional[int]
    power_w: Optional[float]  # of the whole board, where it can measure that (Raspberry Pi 5)


@dataclass(frozen=True)
class ProcessRun(_Wire):
    """One worker process of one configuration. Samples are single inferences in the order they ran."""

    index: int  # 0 .. processes-1
    order: int  # position in the job's interleaved order
    started_unix_ns: int
    phases: Phases
    warmup_ns: Tuple[int, ...]
    samples_ns: Tuple[int, ...]
    memory: Memory
    involuntary_switches: int  # during the timed part
    major_faults: int
    steady: Optional[bool] = None  # warm-up ended steady; None: it had a fixed length
    sentinel_ns: Optional[int] = None  # before the first block
    blocks: Tuple[SampleBlock, ...] = ()
    readings: Tuple[Reading, ...] = ()
    cpus: Tuple[int, ...] = ()  # that it was pinned to; empty: it was not
    monitor_cpu_ns: int = 0  # CPU time of the monitor while this process ran, its children's too
    monitored_ns: int = 0  # how long that was


@dataclass(frozen=True)
class BoardState(_Wire):
    """A reading of the board's state, taken outside timed parts."""

    taken_unix_ns: int
    governor: Optional[str]
    cpu_hz: Optional[int]
    temperature_c: Optional[float]
    throttled_bits: Optional[int]
    load_1min: float
    memory_available_bytes: int


@dataclass(frozen=True)
class MeasurementWarning(_Wire):
    """Something that makes a number less trustworthy: code, sentence, and the data behind it."""

    code: str
    message: str
    data: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunReport(_Wire):
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
class EvaluateReport(_Wire):
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
class JobReport(_Wire):
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
class Captures(_Wire):
    """What a board's files and programs say, as they say it, without serial numbers: for a report or a new profile."""

    files: Dict[str, Any]  # path below the root -> text
    commands: Dict[str, Any]  # command line -> output


@dataclass(frozen=True)
class ReleaseSpec(_Wire):
    """A model to become an application's current release. It is in the content store and has passed its check."""

    app: str
    model_sha256: str
    manifest: Dict[str, Any]  # recipe, input spec, outputs, labels, runtime: what an application needs


@dataclass(frozen=True)
class ReleaseState(_Wire):
    """What an application on the board uses."""

    app: str
    current: Optional[str]  # release id
    previous: Optional[str]
    releases: Tuple[str, ...]  # oldest first
    path: Optional[str]  # stable path of the current model, absolute
