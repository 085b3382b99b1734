"""Made-up runs and rows for tests of statistics, verdicts and the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepress.benchmarking.plans import PLANS
from edgepress.table.recording import MetricValue, Subject, result_of_run
from edgepress.table.result import Result
from edgepress_agent.protocol.messages import (
    PROTOCOL_VERSION,
    BoardState,
    Configuration,
    DeviceFacts,
    Failure,
    JobReport,
    MeasurementWarning,
    Memory,
    Phases,
    ProcessRun,
    RunReport,
    Runtime,
)
from edgepress_converters.model import TFLiteModel

MIB = 1 << 20
STARTED_UNIX_NS = 1_790_000_000_000_000_000

RUNTIME = Runtime("ai-edge-litert", "2.1.6", "3.11.2", "2.1.0", "/home/pi/.edgepress/runtimes/litert/bin/python")

FACTS = DeviceFacts(
    machine="aarch64",
    pointer_bits=64,
    model="Raspberry Pi 4 Model B Rev 1.4",
    compatible=("raspberrypi,4-model-b", "brcm,bcm2711"),
    cpu_model="Cortex-A72",
    cpu_parts=("0xd08",),
    cpu_features=("fp", "asimd"),
    cpu_count=4,
    cpu_max_hz=1_800_000_000,
    governor="performance",
    memory_total_bytes=4 << 30,
    disk_free_bytes=10 << 30,
    kernel="6.12.25+rpt-rpi-v8",
    os_id="debian",
    os_version="12",
    libc="glibc 2.36",
    python_version="3.11.2",
    has_venv=True,
    physical_id="ab" * 32,
    physical_id_source="device-tree",
    boot_id="5f6c",
    emulated=False,
    temperature_c=48.0,
    throttled_bits=0,
    load_1min=0.1,
    runtimes=(RUNTIME,),
)


def process_run(samples_ns: Sequence[int], index: int = 0, peak_rss_bytes: int = 60 * MIB) -> ProcessRun:
    return ProcessRun(
        index=index,
        order=index,
        started_unix_ns=STARTED_UNIX_NS + index * 10**9,
        phases=Phases(20_000_000, 180_000_000, 900_000, 400_000, 300_000),
        warmup_ns=(90_000, 80_000),
        samples_ns=tuple(samples_ns),
        memory=Memory(40 * MIB, 50 * MIB, peak_rss_bytes, 0, 45 * MIB),
        involuntary_switches=0,
        major_faults=0,
    )


def run_report(
    by_process: Sequence[Sequence[int]],
    *,
    model_sha256: str = "cd" * 32,
    threads: int = 1,
    failures: Sequence[Failure] = (),
    warnings: Sequence[MeasurementWarning] = (),
) -> RunReport:
    return RunReport(
        configuration=Configuration(model_sha256, RUNTIME.name, RUNTIME.version, threads),
        runtime=RUNTIME,
        delegate_nodes=1,
        operator_nodes=3,
        processes=tuple(process_run(samples, index) for index, samples in enumerate(by_process)),
        failures=tuple(failures),
        warnings=tuple(warnings),
    )


def steady_run(p50_ns: int = 100_000, **changes: Any) -> RunReport:
    """Five processes of 40 samples within 1 % of ``p50_ns``."""
    step_ns = max(1, p50_ns // 4000)
    samples = [p50_ns + step_ns * ((7 * number) % 40 - 20) for number in range(40)]
    return run_report([samples] * 5, **changes)


def board_state(**changes: Any) -> BoardState:
    state = BoardState(STARTED_UNIX_NS, "performance", 1_800_000_000, 48.0, 0, 0.1, 3 << 30)
    return dataclasses.replace(state, **changes)


def job_report(*runs: RunReport, job_id: str = "job-1", facts: DeviceFacts | None = FACTS, **changes: Any) -> JobReport:
    report = JobReport(
        protocol=PROTOCOL_VERSION,
        job_id=job_id,
        kind="benchmark",
        status="ended",
        started_unix_ns=STARTED_UNIX_NS,
        ended_unix_ns=STARTED_UNIX_NS + 20 * 10**9,
        agent_version="0.1.0",
        facts=facts,
        plan=PLANS["quick"],
        runs=runs,
        states=(board_state(), board_state()),
    )
    return dataclasses.replace(report, **changes)


def tflite_model(sha256: str = "cd" * 32, size_bytes: int = 30_000) -> TFLiteModel:
    return TFLiteModel(Path("digits.tflite"), sha256, size_bytes, (), (), (), (), ())


def result(
    recipe: str | None = "float32",
    *,
    run: RunReport | None = None,
    size_bytes: int = 30_000,
    job_id: str = "job-1",
    device: str = "pi4",
    facts: DeviceFacts | None = FACTS,
    ended_unix_ns: int = STARTED_UNIX_NS + 20 * 10**9,
    position: int | None = None,
    **subject: Any,
) -> Result:
    """A row as the pipeline makes it; ``subject`` changes what the workstation knows of it."""
    run = run or steady_run()
    fields: dict[str, Any] = {
        "model": "digits",
        "recipe": recipe,
        "recipe_id": recipe and f"{recipe}-id",
        "compression": {"recipe": {"name": recipe}},
        "data_sha256": "ef" * 32,
        "training_seed": 0,
        "metric": "accuracy",
        "metric_higher_is_better": True,
        "metric_samples": 360,
        "host_metric": MetricValue(0.9778, 0.957, 0.989),
        "board_metric": MetricValue(0.975, 0.953, 0.987),
        "output_check": "identical",
        **subject,
    }
    job = job_report(run, job_id=job_id, facts=facts, ended_unix_ns=ended_unix_ns)
    row = result_of_run(run, job, tflite_model(size_bytes=size_bytes), Subject(**fields), device)
    return row if position is None else dataclasses.replace(row, position=position)
