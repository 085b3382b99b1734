"""What is run on a board under test: one small trained model in every format, and a plan of a few inferences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.conversion import convert_model
from edgepress.models import load_model
from edgepress.verification.goldens import Goldens, make_goldens
from edgepress_agent.protocol.messages import BenchmarkPlan
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import FORMATS, ConversionOptions
from edgepress_converters.pool import WorkerPool
from support.small_job import write_small_job

GOLDENS = 8
# Under emulation an inference takes a thousand times longer than on a board, and a process five seconds to start.
PLAN = BenchmarkPlan(
    name="test",
    processes=1,
    warmup_min_runs=1,
    warmup_min_ns=0,
    min_runs=3,
    min_duration_ns=0,
    max_duration_ns=10_000_000_000,
    seed=7,
    process_deadline_s=120.0,
    job_deadline_s=240.0,
)


@dataclass(frozen=True)
class Sample:
    """A file and what it should answer."""

    model: TFLiteModel
    goldens: Goldens


def make_samples(folder: Path, pool: WorkerPool) -> dict[str, Sample]:
    """Train the model, and convert it to every format."""
    keras_file, data_file = write_small_job(folder)
    keras_model = load_model(keras_file)
    with np.load(data_file) as data:
        calibration, inputs = (data["x_train"][:100],), (data["x_test"][:GOLDENS],)
    samples = {}
    for name in FORMATS:
        options = ConversionOptions(format=name)
        model = convert_model(keras_model, folder / f"{name}.tflite", options, calibration, pool)
        samples[name] = Sample(model, make_goldens(keras_model, model, inputs, pool))
    return samples
