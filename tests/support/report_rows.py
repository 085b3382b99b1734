"""A small table as a team has it after some months: boards, recipes, sessions, an emulated board, hostile names."""

from __future__ import annotations

import dataclasses
import hashlib
import random

from edgepress.table.figures import OPERATOR_TIME, Figures, Part
from edgepress.table.recording import MetricValue
from edgepress.table.result import Result
from support.table_rows import FACTS, RUNTIME, STARTED_UNIX_NS, board_state, result, run_report, steady_run

RECIPES = {
    "float32": (400_000, 9_800_000, 0.981),
    "dynamic": (108_000, 9_100_000, 0.980),
    "int8": (110_000, 5_600_000, 0.978),
    "prune50-int8": (60_000, 3_300_000, 0.974),
}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>=cmd()|'\"\x1b[31m %{x} <b>b</b> &amp; ${7*7} {{7*7}}"
WEEK_NS = 7 * 86_400 * 10**9


def report_rows(sessions: int = 6) -> list[Result]:
    """Rows of pi4 (a step of 9 % in the middle) and of an emulated board, then two hostile ones."""
    rng = random.Random(0)
    rows = []
    for session in range(sessions):
        ended = STARTED_UNIX_NS + session * WEEK_NS
        states = [
            board_state(taken_unix_ns=ended - 60 * 10**9 + n * 10**9, temperature_c=48.0 + n, cpu_hz=1_800_000_000)
            for n in range(20)
        ]
        for position, (recipe, (size, p50, accuracy)) in enumerate(RECIPES.items()):
            level = p50 * (1.09 if session >= sessions // 2 else 1) * (1 + rng.gauss(0, 0.004))
            samples = [[round(level * (1 + rng.expovariate(1) * 0.006)) for _ in range(40)] for _ in range(5)]
            row = result(
                recipe,
                run=run_report(samples, model_sha256="cd" * 32),
                size_bytes=size,
                job_id=f"job-{session}",
                ended_unix_ns=ended,
                position=position,
                board_metric=MetricValue(accuracy, accuracy - 0.012, accuracy + 0.01),
                project=hashlib.sha1(str(session // 3).encode(), usedforsecurity=False).hexdigest(),
            )
            assert row.evidence is not None
            rows.append(dataclasses.replace(row, evidence=dataclasses.replace(row.evidence, states=tuple(states))))
    qemu = dataclasses.replace(FACTS, model="QEMU virt", physical_id="11" * 32, emulated=True)
    rows.append(result("int8", run=steady_run(40_000_000), device="qemu", facts=qemu, job_id="q"))
    facts = dataclasses.replace(FACTS, model=HOSTILE, governor=HOSTILE, physical_id="77" * 32)
    hostile = {"model": HOSTILE, "device": HOSTILE, "metric": HOSTILE, "output_check": HOSTILE, "facts": facts}
    rows += [result(HOSTILE, job_id=f"h{n}", ended_unix_ns=STARTED_UNIX_NS + n, **hostile) for n in range(2)]
    return rows


def operator_times() -> Figures:
    """What `edgepress profile` finds in the models of pi4."""
    kinds = ("CONV_2D", "ADD", "CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX")
    parts = [Part(kind, f"layer_{number}", 200_000.0 * (number + 1)) for number, kind in enumerate(kinds)]
    return Figures(
        what=OPERATOR_TIME,
        unit="ns",
        source="edgepress profile 0.1.0",
        model="digits.tflite",
        model_sha256="cd" * 32,
        device="pi4",
        physical_device=FACTS.physical_id,
        runtime=RUNTIME.name,
        runtime_version=RUNTIME.version,
        delegate="default",
        threads=1,
        created_unix_ns=STARTED_UNIX_NS,
        whole=4_100_000.0,
        parts=(*parts, Part("CUSTOM", HOSTILE, None, "it cannot be run alone")),
    )


def quantization_error() -> Figures:
    """Figures that no board had a part in."""
    return Figures(
        what="quantization error by layer",
        unit="",
        source="a later version",
        model="digits.tflite",
        model_sha256="cd" * 32,
        device=None,
        physical_device=None,
        runtime=None,
        runtime_version=None,
        delegate=None,
        threads=None,
        created_unix_ns=STARTED_UNIX_NS,
        whole=None,
        parts=(Part("Conv2D", "conv", 0.02), Part("Dense", HOSTILE, 0.11)),
    )
