"""How much smaller the file itself becomes: LeNet-300-100, LeNet-5 and ResNet-20, by edgepress and by others.

Each network is trained, compressed by a recipe of this file (structure, distillation, int8) and converted; its .tflite
file is loaded and run as it is by ai-edge-litert, and compared with the .tflite file in float32. Beside it: the
control, a network of the very architecture that the recipe arrives at, trained from scratch for as many epochs as the
original and its compression took together, and for int8 like it; TFLiteConverter's int8; ai-edge-quantizer's int8 and
int4; and tfmot (80 % of the weights pruned in as many epochs as the recipe has, int8; with and without zeros left out
of the file). On scikit-learn's digits, and on the strokes (``tasks/``), which separate methods. Recipes were chosen on
the digits, with test accuracy in sight (on seed 0; that of LeNet-300-100 by validation on all five): the strokes, and
the other seeds, are the cleaner figures. Resumable: each file is a line of JSON; networks and files are kept in the
user's cache folder.

    nice python benchmarks/ratio.py run --seconds 280     # as much as that allows
    nice python benchmarks/ratio.py costs                 # latency and memory, each network's files in one session
    python benchmarks/ratio.py table                      # what is known so far, as Markdown
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import peers
from judged_files import correct, costs_of
from platformdirs import user_cache_path
from resumable import PURPOSE, add_missing, main, read_lines, with_interval
from tasks import digits, load_task, strokes
from tasks.lenets import LENETS, name_of
from tasks.nets import trained_once

from edgepress.errors import EdgepressError
from edgepress.training.objective import Objective

if TYPE_CHECKING:
    from edgepress.data import Dataset, Split

RESULTS = Path(__file__).parent / "results"
LINES, TABLE = RESULTS / "ratio.jsonl", RESULTS / "ratio.md"
FILES = user_cache_path("edgepress") / "benchmarks" / "ratio"
GOAL_RATIO, GOAL_LOST = 50, 0.005

FLOAT, OURS, CONTROL, RAW = "float32", "edgepress", "from scratch, as long", "TFLiteConverter, int8"
PEERS = (peers.AI_EDGE_QUANTIZER, peers.INT4, peers.TFMOT_PRUNED, peers.TFMOT_SPARSE)
METHODS = (FLOAT, OURS, CONTROL, RAW, *PEERS)
COSTS = "costs"
EPOCHS = 30  # of the original

TAUGHT = """
[[step]]
kind = "distill"
epochs = 30

[[step]]
kind = "quantize"
method = "qat"
epochs = 8

[convert]
format = "int8"
"""
STRUCTURES = {
    "LeNet-300-100": """
[[step]]
kind = "prune"
structure = "neurons"
sparsity = 0.75
round_to = 4
schedule = "gradual"
epochs = 12

[[step]]
kind = "factorize"
rank = { fixed = 16 }
keep = ["fc2", "class"]
epochs = 0
""",
    "LeNet-5": """
[[step]]
kind = "prune"
structure = "neurons"
sparsity = 0.9
schedule = "gradual"
epochs = 6

[[step]]
kind = "prune"
structure = "filters"
sparsity = 0.6
round_to = 4
epochs = 6
""",
    "ResNet-20": """
[[step]]
kind = "prune"
structure = "layers"
sparsity = 0.34
epochs = 3

[[step]]
kind = "prune"
structure = "filters"
sparsity = 0.75
importance = "l2"
round_to = 4
schedule = "gradual"
epochs = 9
""",
}


@dataclass(frozen=True)
class Task:
    """Data, and how networks are trained on them."""

    side: int
    classes: int
    load: Callable[[int], Dataset]
    seeds: tuple[int, ...]
    objective: Objective


def _objective(batch_size: int) -> Objective:
    return Objective(("sparse_categorical_crossentropy",), "accuracy", learning_rate=1e-3, batch_size=batch_size)


TASKS = {
    "digits": Task(digits.SIDE, digits.CLASSES, digits.load_digits_of, (0, 1, 2, 3, 4), _objective(32)),
    f"strokes {strokes.SHA256[:12]}": Task(
        strokes.SIDE, strokes.CLASSES, lambda _: load_task(), (0, 1, 2), _objective(128)
    ),
}


@dataclass(frozen=True)
class Key:
    """One file."""

    task: str
    net: str
    seed: int
    method: str


def keys() -> Iterator[Key]:
    """All files, seed by seed: a table of fewer seeds is a table of all methods."""
    for seed in range(5):
        for name, task in TASKS.items():
            for net in LENETS:
                for method in METHODS:
                    if seed in task.seeds:
                        yield Key(name, net, seed, method)


def recipe_of(net: str) -> str:
    """The recipe of a network, as TOML."""
    return STRUCTURES[net] + TAUGHT


@cache
def data_of(task: str, seed: int) -> tuple[Dataset, Split]:
    dataset = TASKS[task].load(seed)
    return dataset, dataset.held_out.open(PURPOSE)


def measure(key: Key) -> dict[str, Any]:
    """Make one file, and judge it on the test split."""
    from edgepress_converters.pool import WorkerPool

    path = folder_of(key) / f"{key.method}.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    _, test = data_of(key.task, key.seed)
    with WorkerPool() as pool:
        try:
            notes = make(key, path, pool)
            accuracy = float(correct(path, test, pool).mean())
        except (peers.Refused, EdgepressError) as error:  # a result, too
            size = {"bytes": path.stat().st_size} if path.exists() else {}
            return {**asdict(key), **size, "refused": str(error)[:300]}
    return {**asdict(key), "bytes": path.stat().st_size, "accuracy": accuracy, **notes}


def folder_of(key: Key) -> Path:
    return FILES / key.task.replace(" ", "-") / key.net / str(key.seed)


def make(key: Key, path: Path, pool: Any) -> dict[str, Any]:
    """Make a file in one of the ways; return what is worth knowing of it."""
    from edgepress.compression.compress import compress
    from edgepress.compression.recipe import parse_recipe
    from edgepress.conversion import convert_model
    from edgepress.models import load_model
    from edgepress_converters.options import ConversionOptions

    task, (dataset, _) = TASKS[key.task], data_of(key.task, key.seed)
    data, recipe = dataset.training, parse_recipe(recipe_of(key.net), source=key.net, default_name="small")
    original = load_model(
        trained_once(
            key.net,
            lambda: LENETS[key.net](task.side, task.classes),
            data,
            seed=key.seed,
            epochs=EPOCHS,
            objective=task.objective,
            task=f"ratio-{key.task.replace(' ', '-')}",
        )
    )
    calibration = dataset.train.inputs
    if key.method in (FLOAT, RAW):
        options = ConversionOptions("float32" if key.method == FLOAT else "int8", repack=key.method == FLOAT)
        convert_model(original, path, options, calibration, pool)
        return {"parameters": original.count_params()}
    if key.method in PEERS:
        spent = sum(step.epochs or 0 for step in recipe.step)
        base = path.with_name("unpacked.tflite")
        convert_model(original, base, ConversionOptions("float32", repack=False), calibration, pool)
        network = {"module": "tasks.lenets", "name": name_of(key.net, task.side, task.classes)}
        rate, batch = task.objective.learning_rate, task.objective.batch_size
        peers.prepare(path.parent, network, original, dataset.train, base, spent, rate, batch)
        path.unlink(missing_ok=True)
        peers.make(key.method, path.parent)
        return {}
    if key.method == CONTROL:
        original, recipe = from_scratch(original, recipe, data, task, key.seed)
    compressed = compress(original, recipe, data, task.objective, seed=key.seed, pool=pool)
    convert_model(compressed.model, path, compressed.conversion, calibration, pool)
    return {
        "parameters": compressed.report.parameters_after,
        "macs": compressed.report.macs_after,
        "val_accuracy": compressed.report.metric_after,
    }


def from_scratch(original: Any, recipe: Any, data: Any, task: Task, seed: int) -> tuple[Any, Any]:
    """Return the architecture that the recipe arrives at, trained from scratch, and what is left of the recipe."""
    from edgepress.compression.compress import compress
    from edgepress.compression.graph.reader import read
    from edgepress.compression.graph.rebuild import untrained
    from edgepress.training.fit import fine_tune
    from edgepress.training.seeds import seeded

    at_once = {"prune": {"epochs": 0, "schedule": "one-shot"}, "factorize": {"epochs": 0}}
    structure = tuple(step.model_copy(update=at_once[step.kind]) for step in recipe.step if step.kind in at_once)
    shape = compress(original, recipe.model_copy(update={"step": structure}), data, task.objective, seed=seed).model
    with seeded(seed):
        fresh = untrained(read(shape))
    last = recipe.step[-1]
    epochs = EPOCHS + sum(step.epochs for step in recipe.step[:-1])
    model = fine_tune(fresh, data, task.objective, epochs=epochs, seed=seed).model
    return model, recipe.model_copy(update={"step": (last,)})


def costs() -> None:
    """Measure the files of the first seed that run here against each other, on this machine."""
    done = {(line["task"], line["net"]) for line in read_lines(LINES, None) if line["method"] == COSTS}
    ran = [key for key, line in known().items() if key.seed == 0 and "accuracy" in line]
    for task in TASKS:
        for net in LENETS:
            keys_of = [key for key in ran if (key.task, key.net) == (task, net)]
            files = [path for key in keys_of if (path := folder_of(key) / f"{key.method}.tflite").exists()]
            if (task, net) in done or len(files) < 2:
                continue
            line = {"task": task, "net": net, "method": COSTS, "rows": costs_of(files, FILES / "table.db")}
            with LINES.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def run(seconds: float, stop_file: Path | None) -> None:
    add_missing(LINES, keys(), known(), measure, seconds, stop_file)


def known() -> dict[Key, dict[str, Any]]:
    """What was measured so far."""
    lines = [line for line in read_lines(LINES, None) if line["method"] != COSTS]
    return {Key(*(line[name] for name in ("task", "net", "seed", "method"))): line for line in lines}


def table() -> None:
    """Write the table."""
    found = known()
    timed = {(line["task"], line["net"]): line["rows"] for line in read_lines(LINES, None) if line["method"] == COSTS}
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "ai-edge-litert"))
    others = ", ".join(f"{name} {number}" for name, number in peers.PACKAGES.items() if "dict" not in name)
    text = [
        "# The file itself, many times smaller",
        "",
        "    python benchmarks/ratio.py run && python benchmarks/ratio.py costs && python benchmarks/ratio.py table",
        "",
        f"Bytes of .tflite files as they are, not compressed further; run by ai-edge-litert. {platform.machine()}, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}, {packages}; {others}. Test accuracy in percent "
        "with Student's 95 % interval over seeds; points lost are paired by seed. Latency and memory of the model ("
        "what a worker process takes at most beyond its imports): the files of seed 0 in one session, one thread; * "
        "where a row's verdict is not stable; the networks' sessions were on different machines. Recipes were chosen "
        "on the digits, with test accuracy in sight: the strokes are the cleaner figures.",
        "",
        f"{len(found)} of {len(list(keys()))} files made.",
    ]
    for name, task in TASKS.items():
        counts = digits.COUNTS if name == "digits" else strokes.COUNTS
        splits = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        text += ["", f"## {name}: {task.side}x{task.side}, {task.classes} classes, {splits}"]
        for net in LENETS:
            text += list(section(name, net, found, timed.get((name, net), {})))
    text += ["", "## Recipes"]
    for net in LENETS:
        text += ["", f"{net}:", "", "```toml", recipe_of(net).strip(), "```"]
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def section(task: str, net: str, found: dict[Key, dict[str, Any]], timed: dict[str, Any]) -> Iterator[str]:
    """One network on one task."""
    lines = {method: [found.get(Key(task, net, seed, method), {}) for seed in TASKS[task].seeds] for method in METHODS}
    if not any(lines[OURS]):
        return
    yield from ("", f"### {net}", "")
    ours = [(a, b) for a, b in zip(lines[FLOAT], lines[OURS], strict=True) if a and b]
    ratio = mean(a["bytes"] / b["bytes"] for a, b in ours)
    lost = mean(a["accuracy"] - b["accuracy"] for a, b in ours)
    reached = "reached" if ratio >= GOAL_RATIO and lost <= GOAL_LOST else "missed"
    yield (
        f"{ratio:.1f} times smaller, {100 * lost:.2f} points lost, {len(ours)} seeds; goal {GOAL_RATIO} times at "
        f"{100 * GOAL_LOST:g} points: {reached}."
    )
    yield ""
    yield "| file | bytes | times smaller | accuracy | points lost | p50 latency µs | memory of the model KiB |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for method in METHODS:
        these = [line for line in lines[method] if line]
        if not these:
            continue
        pairs = [(a, b) for a, b in zip(lines[FLOAT], lines[method], strict=True) if "accuracy" in a and "bytes" in b]
        judged = [(a["accuracy"], b["accuracy"]) for a, b in pairs if "accuracy" in b]
        refused = next((line["refused"] for line in these if "refused" in line), "")
        cells = [method]
        cells.append(f"{mean(b['bytes'] for _, b in pairs):,.0f}" if pairs else "")
        cells.append(f"{mean(a['bytes'] / b['bytes'] for a, b in pairs):.1f}" if pairs else "")
        cells.append(with_interval([b for _, b in judged]) if judged else f"refused: {refused[:80]}")
        cells.append(with_interval([a - b for a, b in judged]) if judged and method != FLOAT else "")
        row = timed.get(method)
        star = "" if row is None or row["verdict"] == "stable" else "*"
        cells.append(f"{row['p50_ns'] / 1e3:.1f}{star}" if row else "")
        cells.append(f"{row['model_rss_bytes'] / 1024:,.0f}" if row and row["model_rss_bytes"] is not None else "")
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(str(__doc__), run, table, costs=costs)
