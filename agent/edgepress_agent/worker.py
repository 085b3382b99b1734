"""The worker process: one model, one task, and then the end.

Whatever the model does to this process, nobody else is harmed. What is written while the clock runs: nothing.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from edgepress_agent.counters import own_wait_ns
from edgepress_agent.faults import Fault, failure_of
from edgepress_agent.memory import mapped_bytes, proportional_bytes, read_status, reset_peak
from edgepress_agent.protocol.codec import dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import BenchmarkPlan, Failure, Memory, SampleBlock
from edgepress_agent.protocol.tensors import read_arrays, write_arrays
from edgepress_agent.sentinel import sentinel_ns
from edgepress_agent.timing import Blocks, Clock, sample_storage, timed_runs, warm_up
from edgepress_agent.worker_task import PHASES, Task, WorkerResult

if TYPE_CHECKING:
    from array import array

    from edgepress_agent.interpreter import Model
    from edgepress_agent.protocol.tensors import Array

PROGRESS_EVERY_NS = 250_000_000


class _Speaker:
    """The pipe to the job."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "wb", buffering=0)

    def phase(self, name: str) -> None:
        assert name in PHASES, name
        self._say({"phase": name})

    def progress(self, done: int, total: int) -> None:
        self._say({"done": done, "total": total})

    def result(self, result: WorkerResult) -> None:
        self._say({"result": to_wire(result)})

    def failure(self, failure: Failure) -> None:
        self._say({"failure": to_wire(failure)})

    def _say(self, message: Dict[str, Any]) -> None:
        view = memoryview(dumps(message) + b"\n")
        while view:
            view = view[self._stream.write(view) :]


def main(descriptor: int, entered_ns: int) -> None:
    """Read a task from standard input, do it, answer on ``descriptor``. Does not return.

    The process ends without running destructors: those of a runtime that failed may hang or crash.
    """
    speaker = _Speaker(descriptor)
    try:
        task = from_wire(Task, loads(sys.stdin.buffer.read()))
        speaker.result(_work(task, speaker, entered_ns))
    except Exception as error:
        speaker.failure(failure_of(error))
    os._exit(0)


@dataclass(frozen=True)
class _Start:
    """How the model came up, to its first inference."""

    import_ns: int
    load_ns: int
    allocate_ns: int
    first_ns: int
    import_rss_bytes: int
    load_peak_bytes: int
    peak_was_reset: bool


@dataclass(frozen=True)
class _Runs:
    """What came after the first inference."""

    warmup_ns: Sequence[int]
    samples_ns: Sequence[int]
    involuntary_switches: int
    major_faults: int
    steady: Optional[bool] = None
    sentinel_ns: Optional[int] = None
    blocks: Tuple[SampleBlock, ...] = ()


def _work(task: Task, speaker: _Speaker, entered_ns: int) -> WorkerResult:
    clock = time.monotonic_ns
    if task.cpus:
        os.sched_setaffinity(0, task.cpus)  # before the runtime starts threads, which inherit it
    speaker.phase("import")
    begun = clock()
    from edgepress_agent import interpreter

    runtime = interpreter.import_runtime(task.runtime_name)
    import_ns = clock() - begun

    speaker.phase("inputs")
    arrays = _read_inputs(task)
    storage = sample_storage(task.plan) if task.plan else None

    speaker.phase("load")
    peak_was_reset = reset_peak()
    import_rss = read_status()["VmRSS"]
    begun = clock()
    model = interpreter.Model(runtime, task.model_path, task.threads, task.delegate)
    load_ns = clock() - begun
    speaker.phase("allocate")
    begun = clock()
    model.allocate(task.input_positions, task.output_positions)
    allocate_ns = clock() - begun
    load_peak = read_status()["VmHWM"]
    reset_peak()
    model.set_inputs(model.quantized([array[:1] for array in arrays]) if arrays else model.random_inputs(task.seed))

    speaker.phase("first")
    collected: List[Tuple[Array, ...]] = []
    with interpreter.running():
        begun = clock()
        model.invoke()
        first_ns = clock() - begun
        first_peak = read_status()["VmHWM"]
        reset_peak()
        if task.plan is not None and storage is not None:
            runs = _benchmark(model, task.plan, storage, clock, speaker)
        else:
            runs = _evaluate(model, arrays, collected, clock, speaker)
    if task.outputs_path is not None:
        _write_outputs(task.outputs_path, collected)

    status = read_status()  # all memory before nodes are listed, and durations become Python's numbers
    memory = Memory(
        import_rss_bytes=import_rss,
        load_peak_bytes=load_peak,
        peak_rss_bytes=max(load_peak, first_peak, status["VmHWM"]),
        swap_bytes=status.get("VmSwap", 0),
        pss_bytes=proportional_bytes(),
        first_peak_bytes=first_peak,
        steady_peak_bytes=status["VmHWM"],
        file_bytes=status.get("RssFile"),
        model_file_bytes=mapped_bytes(task.model_path),
    )
    speaker.phase("report")
    delegate_nodes, operator_nodes = model.count_nodes()
    return WorkerResult(
        entered_ns=entered_ns,
        import_ns=import_ns,
        load_ns=load_ns,
        allocate_ns=allocate_ns,
        first_ns=first_ns,
        warmup_ns=tuple(runs.warmup_ns),
        samples_ns=tuple(runs.samples_ns),
        memory=memory,
        peak_was_reset=peak_was_reset,
        involuntary_switches=runs.involuntary_switches,
        major_faults=runs.major_faults,
        delegate_nodes=delegate_nodes,
        operator_nodes=operator_nodes,
        steady=runs.steady,
        sentinel_ns=runs.sentinel_ns,
        blocks=runs.blocks,
    )


class _CountedBlocks(Blocks):
    """Reads this process's counters around each block, and runs the sentinel after it."""

    def __init__(self) -> None:
        self.found: List[SampleBlock] = []

    def begin(self) -> None:
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._waited = own_wait_ns()
        self._cpu = time.process_time_ns()

    def end(self, runs: int, started_ns: int, ended_ns: int) -> None:
        cpu = time.process_time_ns()
        waited = own_wait_ns()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.found.append(
            SampleBlock(
                runs=runs,
                started_ns=started_ns,
                ended_ns=ended_ns,
                cpu_ns=cpu - self._cpu,
                waited_ns=None if waited is None or self._waited is None else max(0, waited - self._waited),
                involuntary_switches=usage.ru_nivcsw - self._usage.ru_nivcsw,
                major_faults=usage.ru_majflt - self._usage.ru_majflt,
                sentinel_ns=sentinel_ns(),
            )
        )


def _benchmark(model: Model, plan: BenchmarkPlan, storage: array[int], clock: Clock, speaker: _Speaker) -> _Runs:
    speaker.phase("warm-up")
    warmup = warm_up(model.invoke, plan, clock)
    before_ns = sentinel_ns()
    blocks = _CountedBlocks()
    speaker.phase("timed")
    before = resource.getrusage(resource.RUSAGE_SELF)
    samples = timed_runs(model.invoke, plan, clock, storage, blocks)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return _Runs(
        warmup.durations_ns,
        samples,
        after.ru_nivcsw - before.ru_nivcsw,
        after.ru_majflt - before.ru_majflt,
        warmup.steady,
        before_ns,
        tuple(blocks.found),
    )


def _evaluate(
    model: Model, arrays: Tuple[Array, ...], collected: List[Tuple[Array, ...]], clock: Clock, speaker: _Speaker
) -> _Runs:
    """Run every sample once; its raw outputs are added to ``collected``."""
    speaker.phase("evaluate")
    samples = len(arrays[0])
    durations: List[int] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    told = clock()
    for index in range(samples):
        model.set_inputs(model.quantized([array[index : index + 1] for array in arrays]))
        start = clock()
        model.invoke()
        end = clock()
        durations.append(end - start)
        collected.append(model.outputs())
        if end - told >= PROGRESS_EVERY_NS:
            speaker.progress(index + 1, samples)
            told = end
    after = resource.getrusage(resource.RUSAGE_SELF)
    return _Runs((), tuple(durations), after.ru_nivcsw - before.ru_nivcsw, after.ru_majflt - before.ru_majflt)


def _write_outputs(path: str, collected: List[Tuple[Array, ...]]) -> None:
    """Write outputs stacked: an array (samples, ...) for each of the model's."""
    import numpy as np

    from edgepress_agent.interpreter import without_batch

    with Path(path).open("wb") as stream:
        write_arrays(stream, [np.stack([without_batch(output) for output in column]) for column in zip(*collected)])
        stream.flush()
        os.fsync(stream.fileno())


def _read_inputs(task: Task) -> Tuple[Array, ...]:
    """Return the arrays of the task's inputs; for a benchmark only their first sample; none: random ones are wanted."""
    if task.inputs_path is None:
        return ()
    with Path(task.inputs_path).open("rb") as stream:
        try:
            arrays = read_arrays(stream)
        except ValueError as error:
            raise Fault("bad-request", f"the inputs are no file of arrays: {error}") from error
    if not arrays or len({array.shape[:1] for array in arrays}) != 1 or not arrays[0].shape or not len(arrays[0]):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise Fault("bad-request", f"inputs are arrays (samples, ...) of as many samples each; got {shapes}")
    return tuple(array[:1].copy() for array in arrays) if task.plan else arrays
