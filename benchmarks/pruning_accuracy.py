"""Accuracy against multiply-accumulates: what pruning costs by each importance, and whether it was worth it.

Two networks on the strokes (``tasks/``), three seeds. A network is trained; a share of every group of filters is
removed, so that a half or a quarter of the multiply-accumulates is left; what remains is fine-tuned. The control is the
same architecture, channel for channel, trained from scratch for as many epochs in all (Liu et al. 2019, "Rethinking the
Value of Network Pruning"); the yardstick is the whole network trained for as many. Differences are paired by seed,
their intervals Student's over the seeds. All of it goes through ``compress`` and its fine-tuning. One method more: a
distill step in place of the fine-tuning, in which the whole network teaches what is left of it (the control has no
teacher). Resumable: each network is a line of JSON, trained bases are kept in the user's cache folder.

    nice python benchmarks/pruning_accuracy.py run --seconds 300      # as many networks as that allows, on one core
    python benchmarks/pruning_accuracy.py table                       # what is known so far, as Markdown
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from resumable import differences as paired
from resumable import main, read_lines, train_missing, with_interval
from tasks.nets import EPOCHS, NETS, OBJECTIVE, trained
from tasks.strokes import COUNTS, SHA256

if TYPE_CHECKING:
    from edgepress.data import Split, TrainingData

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "pruning_accuracy.jsonl"
TABLE = RESULTS / "pruning_accuracy.md"

SEEDS = (0, 1, 2)
FRACTIONS = (0.5, 0.25)
TUNING = 6  # epochs, after EPOCHS of the base
ROUND_TO = 4
BASE, WHOLE, SCRATCH = "base", "whole, as long", "from scratch, as long"
IMPORTANCES = ("l1", "l2", "batchnorm-scale", "geometric-median", "taylor", "activation")
TAUGHT = "taylor, taught"
PRUNED = (*IMPORTANCES, TAUGHT)
GOAL_LOST = 0.005


@dataclass(frozen=True)
class Key:
    """One network to be trained and judged."""

    net: str
    seed: int
    method: str
    fraction: float  # of the whole network's multiply-accumulates, at most


def keys() -> Iterator[Key]:
    """Everything, the most telling first."""
    for fraction in FRACTIONS:
        for net in NETS:
            for seed in SEEDS:
                if fraction == FRACTIONS[0]:
                    yield Key(net, seed, BASE, 1.0)
                for method in (TAUGHT, SCRATCH, *IMPORTANCES):
                    yield Key(net, seed, method, fraction)
        if fraction == FRACTIONS[0]:
            yield from (Key(net, seed, WHOLE, 1.0) for net in NETS for seed in SEEDS)


def run(seconds: float, stop_file: Path | None) -> None:
    """Train what has no line yet."""
    train_missing(LINES, keys(), {key_of(line) for line in lines()}, measure, seconds, stop_file)


def measure(key: Key, data: TrainingData, test: Split) -> dict[str, Any]:
    """Train one network and judge it on the test split."""
    from edgepress.compression.compress import compress
    from edgepress.compression.recipe import DistillStep, PruneStep, Recipe
    from edgepress.models import load_model
    from edgepress.training.cost import cost_of
    from edgepress.training.evaluate import predict
    from edgepress.training.metrics import metric_named

    difference = None
    width = 1.0 if key.fraction == 1 else width_for(key.net, key.fraction)
    if key.method in (BASE, WHOLE, SCRATCH):
        epochs = EPOCHS if key.method == BASE else EPOCHS + TUNING
        model = load_model(trained(key.net, data, seed=key.seed, epochs=epochs, width=width))
    else:
        taught = key.method == TAUGHT
        prune = PruneStep(
            kind="prune",
            structure="filters",
            sparsity=1 - width,
            importance="taylor" if taught else key.method,  # type: ignore[arg-type]
            round_to=ROUND_TO,
            epochs=0 if taught else TUNING,
        )
        steps = (prune, DistillStep(kind="distill", epochs=TUNING)) if taught else (prune,)
        base = load_model(trained(key.net, data, seed=key.seed))
        compressed = compress(base, Recipe(name="pruned", step=steps), data, OBJECTIVE, seed=key.seed)
        model, difference = compressed.model, compressed.report.entries[0].largest_difference
    cost, accuracy = cost_of(model), metric_named(OBJECTIVE.metric)
    return {
        "width": width,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "val_accuracy": accuracy.compute(predict(model, data.val.inputs), data.val.targets),
        "accuracy": accuracy.compute(predict(model, test.inputs), test.targets),
        "largest_difference": difference,
    }


@cache
def width_for(net: str, fraction: float) -> float:
    """The largest width, in hundredths, at which a network has at most a fraction of its multiply-accumulates."""
    from edgepress.training.cost import cost_of

    whole = cost_of(NETS[net](1.0)).macs
    return next(
        hundredths / 100
        for hundredths in range(99, 0, -1)
        if cost_of(NETS[net](hundredths / 100)).macs <= fraction * whole
    )


def lines() -> list[dict[str, Any]]:
    """What was measured so far."""
    return read_lines(LINES)


def key_of(line: dict[str, Any]) -> Key:
    return Key(line["net"], line["seed"], line["method"], line["fraction"])


def table() -> None:
    """Write the tables."""
    known = {key_of(line): line for line in lines()}
    missing = [key for key in keys() if key not in known]
    counts = ", ".join(f"{count:,} {split}" for split, count in COUNTS.items())
    text = [
        "# Accuracy against multiply-accumulates",
        "",
        "    python benchmarks/pruning_accuracy.py run && python benchmarks/pruning_accuracy.py table",
        "",
        f"Task strokes {SHA256[:12]} ({counts}), {len(SEEDS)} seeds. {EPOCHS} epochs, then pruned in multiples of "
        f"{ROUND_TO}, local scope, and fine-tuned for {TUNING}; controls: {EPOCHS + TUNING} epochs at once, the "
        "channels of those from scratch are what pruning leaves. Test accuracy in percent with Student's 95 % interval "
        "over seeds; differences, in points, are paired by seed. Adam, "
        f"{OBJECTIVE.learning_rate:g} to 0 along a cosine, batches of {OBJECTIVE.batch_size}. Python "
        f"{platform.python_version()}, tensorflow {version('tensorflow')}, keras {version('keras')}.",
        "",
        f"{len(known)} of {len(known) + len(missing)} networks trained"
        + (f"; missing: {', '.join(sorted({f'{key.net} {key.fraction:g}' for key in missing}))}." if missing else "."),
        "",
        *verdicts(known),
    ]
    for net in NETS:
        text += ["", f"## {net}", "", *net_table(net, known)]
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def net_table(net: str, known: dict[Key, dict[str, Any]]) -> list[str]:
    rows = [
        "| MACs | method | kMACs | parameters | accuracy | lost to base | lost to whole | gained on scratch | s |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for fraction, method in [(1.0, BASE), (1.0, WHOLE)] + [(f, m) for f in FRACTIONS for m in (SCRATCH, *PRUNED)]:
        found = [known[key] for seed in SEEDS if (key := Key(net, seed, method, fraction)) in known]
        if not found:
            continue
        cells = [
            f"{found[0]['macs'] / known[Key(net, SEEDS[0], BASE, 1.0)]['macs']:.2f}",
            method,
            f"{found[0]['macs'] / 1e3:,.0f}",
            f"{found[0]['parameters']:,}",
            with_interval([line["accuracy"] for line in found]),
            with_interval(differences(known, net, (BASE, 1.0), (method, fraction))) if method != BASE else "",
            with_interval(differences(known, net, (WHOLE, 1.0), (method, fraction))) if fraction < 1 else "",
            with_interval(differences(known, net, (method, fraction), (SCRATCH, fraction))) if method in PRUNED else "",
            f"{min(line['seconds'] for line in found):.0f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def differences(
    known: dict[Key, dict[str, Any]],
    net: str,
    better: tuple[str, float],
    worse: tuple[str, float],
    of: str = "accuracy",
) -> list[float]:
    """By how much one is more accurate than another, for each seed that both were trained with."""
    return paired(known, [(Key(net, seed, *better), Key(net, seed, *worse)) for seed in SEEDS], of)


def verdicts(known: dict[Key, dict[str, Any]]) -> list[str]:
    """The goal, and by how much each network meets or misses it."""
    half = FRACTIONS[0]
    found = [f"Goal at half the MACs: at most {100 * GOAL_LOST:g} points lost, and better than from scratch."]
    for net in NETS:
        lost_on_val = {
            method: fmean(values)
            for method in PRUNED
            if (values := differences(known, net, (BASE, 1.0), (method, half), of="val_accuracy"))
        }
        if not lost_on_val:
            continue
        best = min(lost_on_val, key=lambda method: lost_on_val[method])
        lost = differences(known, net, (BASE, 1.0), (best, half))
        gained = differences(known, net, (best, half), (SCRATCH, half))
        against_whole = differences(known, net, (WHOLE, 1.0), (best, half))
        missed = fmean(lost) - GOAL_LOST
        found.append(
            f"- {net}, best on validation data {best}: lost {with_interval(lost)} to the base, "
            f"{'met on average' if missed <= 0 else f'missed by {100 * missed:.2f}'}; "
            f"{with_interval(against_whole)} to the whole network trained for as long; "
            f"{with_interval(gained)} better than from scratch."
        )
    return found


if __name__ == "__main__":
    main(str(__doc__), run, table)
