"""How a measurement is asked for, and what it says of one worker process and of the board. Part of the messages.

A change here needs a line in the history of ``PROTOCOL_VERSION`` in :mod:`edgepress_agent.protocol.messages`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from edgepress_agent.protocol.wire import Wire


@dataclass(frozen=True)
class BenchmarkPlan(Wire):
    """How a configuration is measured. One plan serves every configuration of a job."""

    name: str
    processes: int  # fresh worker processes per configuration, interleaved across configurations
    warmup_min_runs: int
    warmup_min_ns: int
    min_runs: int  # timed inferences per process: at least this many,
    min_duration_ns: int  # and at least this long,
    max_duration_ns: int  # but no longer than this
    seed: int  # of random inputs, and with the job's id of the order of configurations
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
class Phases(Wire):
    """The cold start of one worker process, by CLOCK_MONOTONIC. Never averaged into steady latency."""

    spawn_ns: int  # from fork to the first line of Python in the worker
    import_ns: int  # numpy and the runtime
    load_ns: int  # Interpreter(model_path)
    allocate_ns: int
    first_ns: int  # first inference


@dataclass(frozen=True)
class Memory(Wire):
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
class SampleBlock(Wire):
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
class Reading(Wire):
    """The board while a worker ran, seen by the job's monitor. Counters are since boot."""

    taken_ns: int  # CLOCK_MONOTONIC
    cpu_hz: Optional[int]  # the lowest of the worker's (fastest) CPUs; of one without any, the highest of all
    temperature_c: Optional[float]
    throttled_bits: Optional[int]
    load_1min: float
    pressure_us: Optional[int]  # /proc/pressure/cpu, some
    steal_ns: Optional[int]  # of the worker's CPUs, together
    other_ns: Optional[int]  # CPU time on the worker's CPUs, whoever used it
    swapped_in_pages: Optional[int]
    power_w: Optional[float]  # of a Raspberry Pi 5, estimated from its power chip


@dataclass(frozen=True)
class ProcessRun(Wire):
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
class BoardState(Wire):
    """A reading of the board's state, taken outside timed parts."""

    taken_unix_ns: int
    governor: Optional[str]  # of the worker's CPUs, else of all; several, by name, have "+" between
    cpu_hz: Optional[int]  # as in a Reading, of the worker before it
    temperature_c: Optional[float]
    throttled_bits: Optional[int]
    load_1min: float
    memory_available_bytes: int


@dataclass(frozen=True)
class MeasurementWarning(Wire):
    """Something that makes a number less trustworthy: code, sentence, and the data behind it."""

    code: str
    message: str
    data: Dict[str, Any] = field(default_factory=dict)
