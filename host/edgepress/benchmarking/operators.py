"""Where a model's time goes, operator by operator.

One method for every runtime: each operator is cut out of the file as a model of its own, and all of them are measured
on the device in one interleaved session with the whole. What a call costs that does nothing is measured too and taken
off. Operators that a delegate runs as one do not cost together what each costs alone, and a model cut out is called
with warm caches: by how much they miss the whole is part of the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress.benchmarking import session
from edgepress.benchmarking.interference import fixed_clock_hz
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way
from edgepress.benchmarking.statistics import headline_ns
from edgepress.benchmarking.verdict import judge_run
from edgepress.conversion import inspect
from edgepress.errors import AgentError, ModelError
from edgepress.progress import Progress, Silent
from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.windows import cut_window, list_operators, write_idle_model

if TYPE_CHECKING:
    from edgepress.devices.device import Device
    from edgepress_agent.protocol.messages import BoardState, RunReport
    from edgepress_converters.model import TFLiteModel

# Many short measurements: three processes show whether one was unlucky.
_PLAN = replace(
    PLANS["quick"],
    name="operators",
    processes=3,
    warmup_min_ns=20_000_000,
    steady_warmup_max_ns=200_000_000,
    min_runs=20,
    min_duration_ns=60_000_000,
    job_deadline_s=3600.0,
)


@dataclass(frozen=True)
class OperatorTime:
    """One operator.

    Attributes:
        kind, output: its TFLite name, and the name of what it makes.
        time_ns: median alone, less the call; None: it cannot be run alone (``failure`` says why).
        share: of the sum of all operators.
        macs: multiply-accumulates; 0 for kinds that have none.
        is_delegated: a delegate took it over.
    """

    index: int
    kind: str
    output: str
    time_ns: int | None
    share: float | None
    macs: int
    is_delegated: bool
    failure: str | None = None


@dataclass(frozen=True)
class OperatorProfile:
    """A model's operators in the order in which they run.

    Attributes:
        way: runtime, delegate and threads, for people.
        ended_unix_ns: when it was measured, by the clock of the board.
        whole_ns: median of the whole model, less the call.
        call_ns: median of a model that does nothing.
        sum_ns: of the operators that could be run alone.
        miss: by how much these miss the whole: sum / whole - 1.
        verdict, doubts: on the whole model's measurement, and why it is not `stable`.
    """

    model: str
    model_sha256: str
    device: str
    way: str
    runtime: str
    runtime_version: str
    delegate: str
    threads: int
    ended_unix_ns: int
    whole_ns: int
    call_ns: int
    sum_ns: int
    miss: float
    delegate_nodes: int
    operators: tuple[OperatorTime, ...]
    verdict: str
    doubts: tuple[str, ...]
    emulated: bool


def profile_operators(
    device: Device, model: TFLiteModel, way: Way, progress: Progress | None = None
) -> OperatorProfile:
    """Measure every operator of a file on a device.

    Raises:
        ModelError: the file cannot be cut. AgentError: the whole model cannot be measured.
    """
    try:
        listed = list_operators(model.path)
        with tempfile.TemporaryDirectory(prefix="edgepress-") as name:
            folder = Path(name)
            write_idle_model(folder / "idle.tflite")
            for operator in listed:
                cut_window(model.path, operator.index, operator.index + 1, folder / f"{operator.index}.tflite")
            windows = [inspect(folder / f"{operator.index}.tflite") for operator in listed]
            setups = [(one, way) for one in (model, inspect(folder / "idle.tflite"), *windows)]
            report = session.measure_setups(device, setups, _PLAN, progress=progress or Silent())
    except NotTFLiteError as error:
        raise ModelError(str(error)) from error
    session.acknowledge(device, report)
    whole, idle = (session.require_samples(run, device.name, report) for run in report.runs[:2])
    max_hz = fixed_clock_hz(report.facts)
    call_ns = headline_ns(idle, report.states, max_hz)
    times = [_time_ns(run, report.states, max_hz, call_ns) for run in report.runs[2:]]
    total = sum(time for time in times if time is not None)
    whole_ns = max(1, headline_ns(whole, report.states, max_hz) - call_ns)
    verdict = judge_run(whole, report.states, max_hz=max_hz)
    operators = tuple(
        OperatorTime(
            index=operator.index,
            kind=operator.kind,
            output=operator.output,
            time_ns=time,
            share=time / total if time is not None and total else None,
            macs=operator.macs,
            is_delegated=run.delegate_nodes > 0,
            failure=run.failures[0].message if time is None and run.failures else None,
        )
        for operator, run, time in zip(listed, report.runs[2:], times, strict=True)
    )
    return OperatorProfile(
        model=model.path.name,
        model_sha256=model.sha256,
        device=device.name,
        way=str(way),
        runtime=way.runtime.name,
        runtime_version=way.runtime.version,
        delegate=way.delegate,
        threads=way.threads,
        ended_unix_ns=report.ended_unix_ns,
        whole_ns=whole_ns,
        call_ns=call_ns,
        sum_ns=total,
        miss=total / whole_ns - 1,
        delegate_nodes=whole.delegate_nodes,
        operators=operators,
        verdict=str(verdict.name),
        doubts=tuple(reason.message for reason in verdict.reasons),
        emulated=bool(report.facts and report.facts.emulated),
    )


def _time_ns(run: RunReport, states: Sequence[BoardState], max_hz: int | None, call_ns: int) -> int | None:
    try:
        session.require_samples(run, "")
    except AgentError:
        return None
    return max(0, headline_ns(run, states, max_hz) - call_ns)
