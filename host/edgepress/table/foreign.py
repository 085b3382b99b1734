"""Results of TFLite's own tools as rows: shown beside ours, marked as foreign, never ranked with them.

Read are the JSON of LiteRT's ``benchmark_litert_model.py --result_json``, and the log or the CSV summary of the C++
tools ``benchmark_model`` and ``benchmark_litert_model``, by the line in which both state their statistics::

    count=50 first=1512 curr=1480 min=1466 max=1702 avg=1489.3 std=31 [p5=1470 median=1484 p95=1551]
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgepress.errors import TableError
from edgepress.table.result import ForeignSource, Result, content_hash
from edgepress_agent.protocol.messages import MeasurementWarning

TOOL = "benchmark_model"
_NS_PER_US = 1000
_NS_PER_MS = 1_000_000
_STATISTICS = re.compile(r"\bcount=(\d+)\b[^\n]*?\bmin=([\d.e+]+)\s+max=([\d.e+]+)\s+avg=([\d.e+]+)([^\n]*)")
_OF_OPERATORS = "Timings (microseconds): "  # before the sum of all operators, by the tool's profiler
_MORE = {name: re.compile(rf"\b(?:{name})=([\d.e+]+)") for name in ("p50|median", "p95", "p90", "p99")}
_THREADS = re.compile(r"num_threads\D{0,20}?(\d+)|Num threads:\s*\[?(\d+)", re.IGNORECASE)
_FOOTPRINT = re.compile(r"overall=([\d.]+)")
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class ForeignRun:
    """What a tool said. Times in ns, ``memory_bytes`` what came after its start; None: it did not say."""

    runs: int
    min_ns: int
    max_ns: int
    mean_ns: int
    p50_ns: int | None
    p90_ns: int | None
    p95_ns: int | None
    p99_ns: int | None
    threads: int | None
    memory_bytes: int | None


def read_foreign(
    path: Path, *, tflite: Path, device: str, runtime: str | None = None, threads: int | None = None
) -> Result:
    """Make a row of what a tool left.

    Args:
        path: the tool's JSON, CSV or log.
        tflite: the file that it measured: the row's identity and size.
        device: name of the board.
        runtime: ``NAME==VERSION`` of what the tool was built with; unknown when left out.
        threads: when the tool did not write them down.

    Raises:
        TableError: a file cannot be read, or nothing in it is a result.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise TableError(f"{path} is larger than any result of {TOOL}")
        text = path.read_text(encoding="utf-8", errors="replace")
        model = tflite.read_bytes()
        ended_unix_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise TableError(f"{error.filename or path}: {error.strerror}") from error
    run = _from_json(text, path) if text.lstrip().startswith("{") else _from_text(text, path)
    name, _, number = (runtime or "unknown").partition("==")
    warnings = [
        MeasurementWarning("foreign", f"measured by {TOOL}: outputs, board state and samples are not known"),
    ]
    if run.p50_ns is None:
        warnings.append(MeasurementWarning("mean-as-p50", f"{TOOL} gave no median: p50 is the mean"))
    if threads is None and run.threads is None:
        assumed = f"{TOOL} did not say how many threads it took: one is assumed, --threads says another number"
        warnings.append(MeasurementWarning("threads-assumed", assumed))
    return Result(
        model_sha256=hashlib.sha256(model).hexdigest(),
        runtime=name,
        runtime_version=number or "unknown",
        runtime_api=TOOL,
        delegate="unknown",
        delegate_nodes=None,
        threads=threads or run.threads or 1,
        physical_device=content_hash(["device-name", device]),
        plan=TOOL,
        plan_sha256=content_hash([TOOL, run.runs]),
        data_sha256=None,
        training_seed=None,
        session=f"foreign-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
        position=0,
        model=tflite.name,
        recipe=None,
        recipe_id=None,
        device=device,
        tflite_bytes=len(model),
        metric=None,
        metric_higher_is_better=None,
        metric_samples=None,
        metric_value_host=None,
        metric_low_host=None,
        metric_high_host=None,
        metric_value_board=None,
        metric_low_board=None,
        metric_high_board=None,
        samples=run.runs,
        processes=1,
        latency_min_ns=run.min_ns,
        latency_p50_ns=run.mean_ns if run.p50_ns is None else run.p50_ns,
        latency_p50_low_ns=None,
        latency_p50_high_ns=None,
        latency_p90_ns=run.p90_ns,
        latency_p95_ns=run.p95_ns,
        latency_p95_low_ns=None,
        latency_p95_high_ns=None,
        latency_p99_ns=run.p99_ns,
        latency_max_ns=run.max_ns,
        process_spread=None,
        peak_rss_bytes=None,
        model_rss_bytes=run.memory_bytes,
        output_check=None,
        verdict="foreign",
        warnings=tuple(warnings),
        emulated=False,
        board_model=None,
        kernel=None,
        governor=None,
        agent_version="none",
        edgepress_version=version("edgepress"),
        created_unix_ns=ended_unix_ns,
        origin=TOOL,
        source=ForeignSource(TOOL, text),
    )


def _from_json(text: str, path: Path) -> ForeignRun:
    try:
        document = json.loads(text)
        latency = document["latency"]

        def ns(name: str) -> int:
            return round(float(latency[name]) * _NS_PER_MS)

        return ForeignRun(
            runs=int(latency["num_runs"]),
            min_ns=ns("min_ms"),
            max_ns=ns("max_ms"),
            mean_ns=ns("avg_ms"),
            p50_ns=ns("median_ms"),
            p90_ns=None,
            p95_ns=ns("p95_ms"),
            p99_ns=None,
            threads=int(document["num_threads"]),
            memory_bytes=None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(
            f"{path} is not what benchmark_litert_model.py --result_json writes: {type(error).__name__} {error}"
        ) from error


def _from_text(text: str, path: Path) -> ForeignRun:
    lines = list(_STATISTICS.finditer(text))
    if not lines:
        raise TableError(f"{path} has no line with count=, min=, max= and avg= as {TOOL} writes it")
    whole = [line for line in lines if not text.endswith(_OF_OPERATORS, 0, line.start())]
    last = (whole or lines)[-1]  # the warm-up comes first
    found = {name: match for name, pattern in _MORE.items() if (match := pattern.search(last[5]))}

    def ns(name: str) -> int | None:
        return round(float(found[name][1]) * _NS_PER_US) if name in found else None

    threads = _THREADS.search(text)
    memory = [float(match[1]) for match in _FOOTPRINT.finditer(text)]
    try:
        return ForeignRun(
            runs=int(last[1]),
            min_ns=round(float(last[2]) * _NS_PER_US),
            max_ns=round(float(last[3]) * _NS_PER_US),
            mean_ns=round(float(last[4]) * _NS_PER_US),
            p50_ns=ns("p50|median"),
            p90_ns=ns("p90"),
            p95_ns=ns("p95"),
            p99_ns=ns("p99"),
            threads=int(threads[1] or threads[2]) if threads else None,
            memory_bytes=round(memory[-1] * (1 << 20)) if memory else None,
        )
    except (ValueError, OverflowError) as error:
        raise TableError(f"{path}: {last[0]!r} holds what is no number: {error}") from error
