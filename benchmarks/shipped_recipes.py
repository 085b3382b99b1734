"""What the recipes that ship give: accuracy, bytes, latency and memory of their files, beside int8 alone.

Two trained networks of the strokes (``tasks/``), three seeds, judged on 20,000 test pictures that nothing was chosen
by. Differences are paired by seed. Resumable: each file is a line of JSON; networks and files are kept in the user's
cache folder.

    nice python benchmarks/shipped_recipes.py run --seconds 300      # as many as that allows, on one core
    nice python benchmarks/shipped_recipes.py costs                  # latency and memory of seed 0's, in one session
    python benchmarks/shipped_recipes.py table                       # what is known so far, as Markdown
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from judged_files import correct, costs_of
from platformdirs import user_cache_path
from resumable import main, read_lines, train_missing, with_interval
from tasks.nets import NETS, OBJECTIVE, trained
from tasks.strokes import COUNTS, SHA256

if TYPE_CHECKING:
    from edgepress.data import Split, TrainingData

RESULTS = Path(__file__).parent / "results"
LINES, TABLE = RESULTS / "shipped_recipes.jsonl", RESULTS / "shipped_recipes.md"
FILES = user_cache_path("edgepress") / "benchmarks" / f"shipped-recipes-{SHA256[:12]}"
SEEDS = (0, 1, 2)
WHOLE = "float32"
RECIPES = (WHOLE, "int8", "no-training", "balanced", "small", "low-latency")
COSTS = "costs"


@dataclass(frozen=True)
class Key:
    """One file."""

    net: str
    seed: int
    recipe: str


def keys() -> Iterator[Key]:
    """All files, seed by seed."""
    for seed in SEEDS:
        for net in NETS:
            for recipe in RECIPES:
                yield Key(net, seed, recipe)


def file_of(key: Key) -> Path:
    return FILES / key.net / str(key.seed) / f"{key.recipe}.tflite"


def measure(key: Key, data: TrainingData, test: Split) -> dict[str, Any]:
    """Compress one network, as ``edgepress run`` does it, and judge the file on the test split."""
    from edgepress.compression.compress import compress
    from edgepress.compression.recipe import load_recipe
    from edgepress.conversion import convert_model
    from edgepress.models import load_model
    from edgepress_converters.pool import WorkerPool

    model = load_model(trained(key.net, data, seed=key.seed))
    path = file_of(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with WorkerPool() as pool:
        compressed = compress(model, load_recipe(key.recipe), data, OBJECTIVE, seed=key.seed, pool=pool)
        convert_model(compressed.model, path, compressed.conversion, data.train.inputs, pool)
        accuracy = float(correct(path, test, pool).mean())
    report = compressed.report
    return {
        "accuracy": accuracy,
        "bytes": path.stat().st_size,
        "parameters": report.parameters_after,
        "macs": report.macs_after,
        "took_s": round(sum(entry.duration_s for entry in report.entries), 1),
        "notes": [note for entry in report.entries for note in entry.notes],
    }


def run(seconds: float, stop_file: Path | None) -> None:
    train_missing(LINES, keys(), set(known()), measure, seconds, stop_file)


def costs() -> None:
    """Measure the files of the first seed against each other, on this machine."""
    done = {line["net"] for line in read_lines(LINES) if line["recipe"] == COSTS}
    for net in NETS:
        files = [path for recipe in RECIPES if (path := file_of(Key(net, 0, recipe))).exists()]
        if net in done or len(files) < 2:
            continue
        line = {"net": net, "recipe": COSTS, "rows": costs_of(files, FILES / "table.db"), "task": SHA256[:12]}
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def known() -> dict[Key, dict[str, Any]]:
    """What was measured so far."""
    lines = [line for line in read_lines(LINES) if line["recipe"] != COSTS]
    return {Key(line["net"], line["seed"], line["recipe"]): line for line in lines}


def table() -> None:
    """Write the table."""
    found = known()
    timed = {line["net"]: line["rows"] for line in read_lines(LINES) if line["recipe"] == COSTS}
    counts = ", ".join(f"{count:,} {split}" for split, count in COUNTS.items())
    text = [
        "# What the recipes that ship give",
        "",
        "    python benchmarks/shipped_recipes.py run && python benchmarks/shipped_recipes.py costs",
        "    python benchmarks/shipped_recipes.py table",
        "",
        f"Task strokes {SHA256[:12]} ({counts}), {len(SEEDS)} seeds. Test accuracy of the file in percent with "
        "Student's 95 % interval over seeds; points lost are paired by seed. Latency and memory of the model: the "
        "files of seed 0 in one session on `local`, one thread; * where a row's verdict is not stable. Time: of the "
        f"steps, the fastest seed's. {platform.machine()}, {os.cpu_count()} CPUs, Python "
        f"{platform.python_version()}, tensorflow {version('tensorflow')}, keras {version('keras')}, ai-edge-litert "
        f"{version('ai-edge-litert')}.",
        "",
        f"{len(found)} of {len(list(keys()))} files made.",
    ]
    for net in NETS:
        text += [
            "",
            f"## {net}",
            "",
            "| recipe | bytes | times smaller | kMACs | accuracy | points lost | p50 µs | memory KiB | time s |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        text += [row(net, recipe, found, timed.get(net, {})) for recipe in RECIPES if Key(net, 0, recipe) in found]
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def row(net: str, recipe: str, found: dict[Key, dict[str, Any]], timed: dict[str, Any]) -> str:
    """One recipe on one network."""
    pairs = [
        (found[whole], found[key])
        for seed in SEEDS
        if (whole := Key(net, seed, WHOLE)) in found and (key := Key(net, seed, recipe)) in found
    ]
    cells = [
        recipe,
        f"{mean(line['bytes'] for _, line in pairs):,.0f}",
        f"{mean(whole['bytes'] / line['bytes'] for whole, line in pairs):.1f}",
        f"{mean(line['macs'] for _, line in pairs) / 1e3:,.0f}",
        with_interval([line["accuracy"] for _, line in pairs]),
        with_interval([whole["accuracy"] - line["accuracy"] for whole, line in pairs]) if recipe != WHOLE else "",
    ]
    cost = timed.get(recipe)
    cells.append(f"{cost['p50_ns'] / 1e3:.1f}{'' if cost['verdict'] == 'stable' else '*'}" if cost else "")
    cells.append(f"{cost['model_rss_bytes'] / 1024:,.0f}" if cost and cost["model_rss_bytes"] is not None else "")
    cells.append(f"{min(line['took_s'] for _, line in pairs):.0f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(str(__doc__), run, table, costs=costs)
