"""What benchmarks ask of .tflite files: which test pictures they answer correctly, and what they cost to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress.data import Split
    from edgepress_converters.pool import WorkerPool


def correct(path: Path, test: Split, pool: WorkerPool) -> Any:
    """Return which test pictures a file answers correctly here: 0 or 1 of each."""
    from edgepress.conversion import inspect
    from edgepress.training.metrics import metric_named
    from edgepress.verification.reference import run_file, to_real

    model = inspect(path)
    outputs = to_real(model, run_file(model, test.inputs, pool))
    return metric_named("accuracy").scores(outputs, test.targets)


def costs_of(files: Sequence[Path], db: Path) -> dict[str, dict[str, Any]]:
    """Measure files against each other in one session on ``local``; return the figures of each by its stem."""
    from edgepress.pipeline import bench

    outcome = bench(files, devices=("local",), plan="quick", db=str(db))
    return {
        Path(row.model).stem: {
            "p50_ns": row.latency_p50_ns,
            "model_rss_bytes": row.model_rss_bytes,
            "verdict": row.verdict,
        }
        for row in outcome.rows
    }
