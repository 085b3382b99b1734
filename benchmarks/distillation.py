"""Distillation against the same student trained alone for as long: what each signal gives.

A ResNet of three blocks on the strokes (``tasks/``), three seeds. The student has half of its filters. Alone it learns
from the labels; taught it learns for as many epochs, from the same untrained weights and in the same order of samples,
half from the labels and half from a signal of the whole network. Differences are paired by seed, their intervals
Student's over the seeds. Two methods more: the teacher is another student like it, already trained (born-again
networks: Furlanello et al. 2018), and two students that teach each other (Zhang et al. 2018). All of it goes through
``compress``. Resumable: each network is a line of JSON, teachers are kept in the user's cache folder.

    nice python benchmarks/distillation.py run --seconds 300      # as many networks as that allows, on one core
    python benchmarks/distillation.py table                       # what is known so far, as Markdown
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resumable import differences, main, read_lines, train_missing, with_interval
from tasks.nets import EPOCHS, OBJECTIVE, residual, trained
from tasks.strokes import COUNTS, SHA256

if TYPE_CHECKING:
    from edgepress.compression.recipe_tables import Signal
    from edgepress.data import Split, TrainingData

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "distillation.jsonl"
TABLE = RESULTS / "distillation.md"

NET = residual.__name__
SEEDS = (0, 1, 2)
WIDTH = 0.5
TEACHER, ALONE = "the teacher", "alone"
BORN_AGAIN, MUTUAL = "response, of its like", "response, mutual"
SIGNALS: dict[str, dict[Signal, float]] = {
    "response": {"response": 1.0},
    "hint": {"hint": 1.0},
    "attention": {"attention": 1.0},
    "distance": {"distance": 1.0},
    "angle": {"angle": 1.0},
    "similarity": {"similarity": 1.0},
    "response + attention": {"response": 1.0, "attention": 1.0},
    "response + similarity": {"response": 1.0, "similarity": 1.0},
}
TAUGHT = (*SIGNALS, BORN_AGAIN, MUTUAL)


@dataclass(frozen=True)
class Key:
    """One network to be trained and judged."""

    seed: int
    method: str


def keys() -> Iterator[Key]:
    """Everything, seed by seed: a table of fewer seeds is a table of all methods."""
    for seed in SEEDS:
        for method in (TEACHER, ALONE, *TAUGHT):
            yield Key(seed, method)


def run(seconds: float, stop_file: Path | None) -> None:
    """Train what has no line yet."""
    train_missing(LINES, keys(), set(known()), measure, seconds, stop_file)


def measure(key: Key, data: TrainingData, test: Split) -> dict[str, Any]:
    """Train one network and judge it on the test split."""
    from edgepress.compression.compress import compress
    from edgepress.compression.recipe import DistillStep, Recipe
    from edgepress.models import load_model
    from edgepress.training.cost import cost_of
    from edgepress.training.evaluate import predict
    from edgepress.training.fit import fine_tune
    from edgepress.training.metrics import metric_named
    from edgepress.training.seeds import seeded

    if key.method == TEACHER:
        model = load_model(trained(NET, data, seed=key.seed))
    else:
        with seeded(key.seed):
            student = residual(WIDTH)
        if key.method == ALONE:
            model = fine_tune(student, data, OBJECTIVE, epochs=EPOCHS, seed=key.seed).model
        else:
            width = WIDTH if key.method in (BORN_AGAIN, MUTUAL) else 1.0
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "teacher.keras"
                if key.method == MUTUAL:
                    with seeded(key.seed + len(SEEDS)):
                        residual(width).save(file)
                else:
                    file = trained(NET, data, seed=key.seed + (width < 1) * len(SEEDS), width=width)
                step = DistillStep(
                    kind="distill",
                    signal=SIGNALS.get(key.method, SIGNALS["response"]),
                    teacher=(str(file),),
                    mutual=key.method == MUTUAL,
                    epochs=EPOCHS,
                )
                model = compress(student, Recipe(name="taught", step=(step,)), data, OBJECTIVE, seed=key.seed).model
    accuracy = metric_named(OBJECTIVE.metric)
    return {
        "parameters": cost_of(model).parameters,
        "val_accuracy": accuracy.compute(predict(model, data.val.inputs), data.val.targets),
        "accuracy": accuracy.compute(predict(model, test.inputs), test.targets),
    }


def known() -> dict[Key, dict[str, Any]]:
    """What was measured so far."""
    return {Key(line["seed"], line["method"]): line for line in read_lines(LINES)}


def table() -> None:
    """Write the table."""
    found = known()
    wanted = list(keys())
    counts = ", ".join(f"{count:,} {split}" for split, count in COUNTS.items())
    text = [
        "# Distillation against the same student trained alone for as long",
        "",
        "    python benchmarks/distillation.py run && python benchmarks/distillation.py table",
        "",
        f"Task strokes {SHA256[:12]} ({counts}), {len(SEEDS)} seeds; students of {WIDTH:g} of the width, {EPOCHS} "
        "epochs, alpha 0.5, temperature 4. Test accuracy in percent with Student's 95 % interval over seeds; gains, in "
        f"points, are paired by seed. Adam, {OBJECTIVE.learning_rate:g} to 0 along a cosine, batches of "
        f"{OBJECTIVE.batch_size}. {platform.machine()}, Python {platform.python_version()}, tensorflow "
        f"{version('tensorflow')}, keras {version('keras')}.",
        "",
        f"{len(set(wanted) & set(found))} of {len(wanted)} networks trained.",
    ]
    text += ["", "| student | parameters | accuracy | gained on alone | s |", "|---|--:|--:|--:|--:|"]
    for method in (TEACHER, ALONE, *TAUGHT):
        lines = [found[key] for seed in SEEDS if (key := Key(seed, method)) in found]
        if not lines:
            continue
        pairs = [(Key(seed, method), Key(seed, ALONE)) for seed in SEEDS]
        cells = [
            method,
            f"{lines[0]['parameters']:,}",
            with_interval([line["accuracy"] for line in lines]),
            with_interval(differences(found, pairs)) if method in TAUGHT else "",
            f"{min(line['seconds'] for line in lines):.0f}",
        ]
        text.append(f"| {' | '.join(cells)} |")
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(str(__doc__), run, table)
