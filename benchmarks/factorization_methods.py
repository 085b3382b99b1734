"""Which way to take a convolution apart loses least: four methods at the same share of each layer's weights.

The residual network on the strokes (``tasks/``), trained; its 3x3 convolutions are factorized by a recipe's step with
``ratio``, BatchNorm is re-estimated and nothing is trained; accuracy on the test split. Resumable, each a line of JSON.

    nice python benchmarks/factorization_methods.py run
    python benchmarks/factorization_methods.py table
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resumable import main, read_lines, train_missing, with_interval
from tasks.nets import EPOCHS, OBJECTIVE, trained

if TYPE_CHECKING:
    from edgepress.data import Split, TrainingData

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "factorization_methods.jsonl"
SEEDS = (0, 1, 2)
RATIOS = (0.4, 0.25)
METHODS: tuple[Method, ...] = ("svd", "spatial-svd", "tucker2", "cp")
WHOLE = ("stem", "*_shortcut", "letter")  # one channel in, 1x1, Dense

Method = Literal["svd", "spatial-svd", "tucker2", "cp"]


@dataclass(frozen=True)
class Key:
    """One network, factorized."""

    seed: int
    ratio: float
    method: Method


def keys() -> Iterator[Key]:
    for seed in SEEDS:
        for ratio in RATIOS:
            for method in METHODS:
                yield Key(seed, ratio, method)


def run(seconds: float, stop_file: Path | None) -> None:
    train_missing(LINES, keys(), set(known()), measure, seconds, stop_file)


def measure(key: Key, data: TrainingData, test: Split) -> dict[str, Any]:
    """Factorize a trained network and judge it."""
    from edgepress.compression.compress import compress
    from edgepress.compression.recipe import FactorizeStep, Rank, Recipe
    from edgepress.models import load_model
    from edgepress.training.evaluate import predict
    from edgepress.training.metrics import metric_named

    model = load_model(trained("residual", data, seed=key.seed))
    step = FactorizeStep(kind="factorize", method=key.method, rank=Rank(ratio=key.ratio), keep=WHOLE, epochs=0)
    found = compress(model, Recipe(name="factorized", step=(step,)), data, OBJECTIVE, seed=key.seed)
    accuracy = metric_named(OBJECTIVE.metric)
    return {
        "parameters": found.report.parameters_after,
        "macs": found.report.macs_after,
        "whole": accuracy.compute(predict(model, test.inputs), test.targets),
        "accuracy": accuracy.compute(predict(found.model, test.inputs), test.targets),
    }


def known() -> dict[Key, dict[str, Any]]:
    return {Key(line["seed"], line["ratio"], line["method"]): line for line in read_lines(LINES)}


def table() -> None:
    """Write the table."""
    found = known()
    wholes = {key.seed: line["whole"] for key, line in found.items()}
    text = [
        "# Four ways to factorize, before any training",
        "",
        "    nice python benchmarks/factorization_methods.py run && python benchmarks/factorization_methods.py table",
        "",
        f"edgepress {version('edgepress')}, tensorflow {version('tensorflow')}, Python {platform.python_version()}, "
        f"{platform.machine()}. The residual network on the strokes after {EPOCHS} epochs, accuracy in % on the test "
        f"split with its 95 % interval over seeds; of the whole network: {with_interval(list(wholes.values()))}.",
        "",
        "| share of weights | method | seeds | kMACs | accuracy |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for ratio in RATIOS:
        for method in METHODS:
            lines = [found[key] for key in keys() if key in found and (key.ratio, key.method) == (ratio, method)]
            if lines:
                accuracy = with_interval([line["accuracy"] for line in lines])
                text.append(f"| {ratio:g} | {method} | {len(lines)} | {lines[0]['macs'] / 1e3:,.0f} | {accuracy} |")
    (RESULTS / "factorization_methods.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(__doc__, run, table)
