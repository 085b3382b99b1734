"""What a worker process is asked and what it answers: private to one version of the agent, on a pipe.

The worker writes one JSON object per line: ``{"phase": ...}`` before it enters a phase, ``{"done": n, "total": m}`` for
progress, and at last ``{"result": ...}`` (:class:`WorkerResult`) or ``{"failure": ...}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from edgepress_agent.protocol.messages import BenchmarkPlan, Memory, SampleBlock

PHASES = ("start", "import", "inputs", "load", "allocate", "first", "warm-up", "timed", "evaluate", "report")


@dataclass(frozen=True)
class Task:
    """Load a model and run it: timed by ``plan``, or, without one, once for each sample of the inputs."""

    runtime_name: str
    model_path: str
    model_sha256: str
    threads: int
    delegate: str
    seed: int = 0  # of random inputs
    plan: Optional[BenchmarkPlan] = None
    inputs_path: Optional[str] = None  # None: one random sample
    outputs_path: Optional[str] = None  # where outputs of all samples go
    input_positions: Tuple[int, ...] = ()
    output_positions: Tuple[int, ...] = ()
    cpus: Tuple[int, ...] = ()  # to run on; empty: anywhere


@dataclass(frozen=True)
class WorkerResult:
    """What a worker measured. ``entered_ns`` is its CLOCK_MONOTONIC at its first line of Python."""

    entered_ns: int
    import_ns: int
    load_ns: int
    allocate_ns: int
    first_ns: int
    warmup_ns: Tuple[int, ...]
    samples_ns: Tuple[int, ...]  # of an evaluation: one for each sample of the inputs
    memory: Memory
    peak_was_reset: bool  # False: the peaks may be those of the import
    involuntary_switches: int
    major_faults: int
    delegate_nodes: int
    operator_nodes: int
    steady: Optional[bool] = None
    sentinel_ns: Optional[int] = None
    blocks: Tuple[SampleBlock, ...] = ()
    spawn_ns: int = 0  # filled in by the process that started the worker
