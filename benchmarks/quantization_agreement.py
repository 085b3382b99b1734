"""Does an int8 file say what the Keras model with ranges says that it was made from?

Networks of ``tasks/zoo.py`` (five architectures, and two with channel scales of 2^k undone in the next layer) are
annotated, given ranges from 200 training pictures by three rules, and trained for int8 for two epochs. Accuracy of the
float network, of the annotated Keras model and of its file, on 20,000 test pictures. Resumable: each model is a line of
JSON.

    nice python benchmarks/quantization_agreement.py run --seconds 280     # as much as that allows
    python benchmarks/quantization_agreement.py table                      # what is known so far, as Markdown
"""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from resumable import main, read_lines, train_missing
from tasks.nets import OBJECTIVE
from tasks.zoo import ZOO

if TYPE_CHECKING:
    from edgepress.data import Split, TrainingData

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "quantization_agreement.jsonl"
TABLE = RESULTS / "quantization_agreement.md"
NETWORKS = ("plain scaled", "residual scaled", "plain", "residual", "mobile", "branches", "gated")
RULES = ("minmax", "percentile", "mse")
TRAINED = "trained"
EPOCHS = 2
GOAL = 0.001


@dataclass(frozen=True)
class Key:
    """One annotated model."""

    network: str
    ranges: str


WANTED = tuple(Key(network, ranges) for ranges in (TRAINED, *RULES) for network in NETWORKS)


def measure(key: Key, data: TrainingData, test: Split) -> dict[str, Any]:
    from edgepress.compression.quantization.qat import quantize_aware, set_ranges_in_model
    from edgepress.compression.recipe import QuantizeStep
    from edgepress.compression.steps import StepContext
    from edgepress.conversion import convert_model
    from edgepress.training.evaluate import predict
    from edgepress.verification.reference import run_file, to_real
    from edgepress_converters.options import ConversionOptions
    from edgepress_converters.pool import WorkerPool

    (subject,) = (one for one in ZOO if one.name == key.network)
    model = subject.model(data)
    rule = "minmax" if key.ranges == TRAINED else key.ranges
    context = StepContext(data, OBJECTIVE, model, ConversionOptions(format="int8", calibration=rule))  # type: ignore[arg-type]
    if key.ranges == TRAINED:
        outcome = quantize_aware(model, QuantizeStep(kind="quantize", method="qat", epochs=EPOCHS), context)
    else:
        outcome = set_ranges_in_model(model, QuantizeStep(kind="quantize", method="ptq"), context)
    with tempfile.TemporaryDirectory() as folder, WorkerPool() as pool:
        file = convert_model(outcome.model, Path(folder) / "m.tflite", outcome.conversion, None, pool)
        of_file = to_real(file, run_file(file, test.inputs, pool))[0].argmax(-1)
    of_float, of_keras = (predict(one, test.inputs)[0].argmax(-1) for one in (model, outcome.model))
    (labels,) = test.targets
    accuracies = {
        name: float(np.mean(answers == labels))
        for name, answers in (("float", of_float), ("keras", of_keras), ("file", of_file))
    }
    return {**accuracies, "changed": float(np.mean(of_keras != of_file)), "float_operators": len(file.float_operators)}


def run(seconds: float, stop_file: Path | None) -> None:
    known = {Key(line["network"], line["ranges"]) for line in read_lines(LINES)}
    train_missing(LINES, WANTED, known, measure, seconds, stop_file)


def table() -> None:
    lines = {Key(line["network"], line["ranges"]): line for line in read_lines(LINES)}
    known = [(key, lines[key]) for key in WANTED if key in lines]
    worst = max((abs(line["file"] - line["keras"]) for _, line in known), default=0.0)
    so_far = "" if len(known) == len(WANTED) else " so far"
    rows = "\n".join(
        f"| {key.network} | {key.ranges} | {100 * line['float']:.2f} | {100 * line['keras']:.2f} | "
        f"{100 * line['file']:.2f} | {100 * (line['file'] - line['keras']):+.2f} | {100 * line['changed']:.2f} | "
        f"{line['float_operators']} |"
        for key, line in known
    )
    TABLE.write_text(
        f"""# Files and the Keras models with ranges that they are made from

`nice python benchmarks/quantization_agreement.py run`, then `table`. TensorFlow {version("tensorflow")}, Keras
{version("keras")}, ai-edge-litert {version("ai-edge-litert")}; {platform.platform()}, {platform.machine()}. Accuracy in
percent of 20,000 test pictures; "changed": share of pictures that file and Keras model answer differently.

{len(known)} of {len(WANTED)} models. The largest difference between a file's accuracy and its Keras model's is
{100 * worst:.2f} points; the goal is {100 * GOAL:.1f} ({"met" if worst <= GOAL else "missed"}{so_far}).

| network | ranges | float | Keras | file | difference | changed | float operators |
|---|---|---|---|---|---|---|---|
{rows}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(__doc__ or "", run, table)
