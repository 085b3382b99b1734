"""int8 without collapse: twenty small networks, most of them planted with what breaks int8, by five ways to int8.

Each network of ``tasks/zoo.py`` goes through: the float file as it is; TensorFlow's TFLiteConverter after training; the
static int8 of ai-edge-quantizer; quantization-aware training by tfmot in Keras 2 (with the weights carried over by
layer, as many epochs and the same rate as ours); and the ladder of edgepress. All are calibrated or trained on the
training split, which is prepared wrongly in three of the networks, and judged on 20,000 test pictures that nothing was
chosen by. The diagnosis is asked for the cause, and is right where the first one it names has the planted kind and,
where the fault has a place, the planted layer. Resumable: each file is a line of JSON; networks and files are kept in
the user's cache folder.

    nice python benchmarks/quantization_zoo.py run --seconds 280     # as much as that allows
    nice python benchmarks/quantization_zoo.py latency               # all files of a network in one session, on local
    python benchmarks/quantization_zoo.py table                      # what is known so far, as Markdown
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import peers
from judged_files import correct, costs_of
from platformdirs import user_cache_path
from resumable import PURPOSE, add_missing, read_lines
from tasks import load_task
from tasks.nets import OBJECTIVE
from tasks.strokes import COUNTS, SHA256
from tasks.zoo import PREPROCESSING, ZOO, Subject

if TYPE_CHECKING:
    from edgepress.data import Dataset, Split
    from edgepress_converters.pool import WorkerPool

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "quantization_zoo.jsonl"
TABLE = RESULTS / "quantization_zoo.md"
FILES = user_cache_path("edgepress") / "benchmarks" / f"quantization-zoo-{SHA256[:12]}"

FLOAT, RAW, LADDER, CAUSE = "float", "TFLiteConverter", "ladder", "cause"
AEQ, TFMOT = peers.AI_EDGE_QUANTIZER, peers.TFMOT
QUANTIZED = (RAW, AEQ, TFMOT, LADDER)
EPOCHS = 3  # of quantization-aware training, in the ladder and by tfmot
MAX_DROP = 0.003
GOAL_DROP, GOAL_NAMED = 0.003, 0.95


def run(seconds: float, methods: tuple[str, ...], stop_file: Path | None) -> None:
    """Make and judge what has no line yet, until the time is over or somebody asks for the core."""
    from edgepress_converters.pool import WorkerPool

    known = {(line["subject"], line["method"]) for line in read_lines(LINES)}
    wanted = [(one.name, method) for method in methods for one in ZOO]

    def measured(key: tuple[str, str]) -> dict[str, Any]:
        (subject,) = (one for one in ZOO if one.name == key[0])
        found = measure(subject, key[1], misfed(subject, task()), test(), pool)
        return {"subject": subject.name, "method": key[1], **found, "task": SHA256[:12]}

    with WorkerPool() as pool:
        add_missing(LINES, wanted, known, measured, seconds, stop_file)


@cache
def task() -> Dataset:
    return load_task()


@cache
def test() -> Split:
    return task().held_out.open(PURPOSE)


def misfed(subject: Subject, dataset: Dataset) -> Dataset:
    """The data as the network gets them: the training split prepared wrongly where that is planted."""
    if subject.prepare is None:
        return dataset
    wrong = dataclasses.replace(dataset.train, inputs=(subject.prepare(dataset.train.inputs[0]).astype(np.float32),))
    return dataclasses.replace(dataset, train=wrong)


def folder_of(subject: Subject) -> Path:
    folder = FILES / subject.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def measure(subject: Subject, method: str, dataset: Dataset, test: Split, pool: WorkerPool) -> dict[str, Any]:
    """Make one file, and judge it against the float one."""
    if method == CAUSE:
        return named(subject, dataset)
    folder = folder_of(subject)
    path = folder / f"{method}.tflite"
    try:
        notes = make(subject, method, path, dataset, pool)
    except peers.Refused as error:  # a result, too
        return {"refused": str(error)}
    right = correct(path, test, pool)
    if method != FLOAT:
        drops = np.load(folder / "float.npy").astype(float) - right
        notes["drop"] = float(drops.mean())
        notes["margin"] = 1.96 * float(drops.std()) / math.sqrt(len(drops))
    else:
        np.save(folder / "float.npy", right)
    return {"accuracy": float(right.mean()), "bytes": path.stat().st_size, **notes}


def make(subject: Subject, method: str, path: Path, dataset: Dataset, pool: WorkerPool) -> dict[str, Any]:
    from edgepress.conversion import convert_model
    from edgepress_converters.options import ConversionOptions

    model = subject.model(task().training)
    if method in (FLOAT, RAW):
        options = ConversionOptions(format="float32" if method == FLOAT else "int8", repack=False)
        convert_model(model, path, options, dataset.train.inputs, pool)  # as it comes: the peers need its names
        return {}
    if method == LADDER:
        return climbed(model, path, dataset, pool)
    folder = path.parent
    rate = OBJECTIVE.learning_rate * 0.1
    network = {"module": "tasks.zoo", "name": subject.name}
    peers.prepare(folder, network, model, dataset.train, folder / f"{FLOAT}.tflite", EPOCHS, rate)
    peers.make(method, folder)
    return {}


def climbed(model: Any, path: Path, dataset: Dataset, pool: WorkerPool) -> dict[str, Any]:
    """The ladder, as a recipe would run it, and the conversion that follows it."""
    from edgepress.compression.compress import compress
    from edgepress.compression.recipe import Convert, QuantizeStep, Recipe
    from edgepress.conversion import convert_model

    step = QuantizeStep(kind="quantize", method="ladder", max_drop=MAX_DROP, epochs=EPOCHS)
    recipe = Recipe(name="ladder", step=(step,), convert=Convert(format="int8"))
    compressed = compress(model, recipe, dataset.training, OBJECTIVE, pool=pool)
    convert_model(compressed.model, path, compressed.conversion, dataset.train.inputs, pool)
    entry = compressed.report.entries[0]
    return {
        "rung": entry.settings["rung"],
        "left_float": entry.settings.get("left_float", []),
        "within": not entry.notes[0].startswith("NOT WITHIN"),
        "notes": list(entry.notes),
    }


def named(subject: Subject, dataset: Dataset) -> dict[str, Any]:
    """What the diagnosis says first, and whether that was planted."""
    from edgepress.diagnosing import debug_quantization

    path = folder_of(subject) / "float.keras"
    subject.model(task().training).save(path)
    causes = debug_quantization(path, data=dataset, db=str(FILES / "table.db")).causes
    first = causes[0] if causes else None
    right = (first.kind if first else None) == subject.planted
    if first is not None and subject.planted not in (None, PREPROCESSING):
        right = right and not set(first.layers).isdisjoint(subject.layers)
    return {"named": first.kind if first else None, "what": first.what if first else "", "right": right}


def latency() -> None:
    """Measure all files of each network against each other, on this machine."""
    known = {line["subject"] for line in read_lines(LINES) if line["method"] == "latency"}
    for subject in ZOO:
        files = [path for method in (FLOAT, *QUANTIZED) if (path := folder_of(subject) / f"{method}.tflite").exists()]
        if subject.name in known or len(files) < 2:
            continue
        rows = costs_of(files, FILES / "table.db")
        line = {"subject": subject.name, "method": "latency", "rows": rows, "task": SHA256[:12]}
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def table() -> None:
    """Write the table."""
    known = {(line["subject"], line["method"]): line for line in read_lines(LINES)}
    text = [
        "# A zoo of networks that break in int8",
        "",
        "    python benchmarks/quantization_zoo.py run && python benchmarks/quantization_zoo.py latency",
        "    python benchmarks/quantization_zoo.py table",
        "",
        f"Task strokes {SHA256[:12]}, {COUNTS['test']:,} test pictures. Drops of accuracy against the float file in "
        f"points, with the 95 % interval over paired pictures. Ladder: tolerance {MAX_DROP:.1%} on {COUNTS['val']:,} "
        f"validation pictures; training with rounding, ours and tfmot's: {EPOCHS} epochs. Python "
        f"{platform.python_version()}, tensorflow {version('tensorflow')}, keras {version('keras')}, ai-edge-litert "
        f"{version('ai-edge-litert')}, "
        + ", ".join(f"{name} {number}" for name, number in peers.PACKAGES.items() if "dict" not in name)
        + f"; {platform.machine()}, {os.cpu_count()} CPUs.",
        "",
        *verdicts(known),
        "",
        "| network | planted | named first | float % | " + " | ".join(QUANTIZED) + " | rung |",
        "|---|---|---|--:|" + "--:|" * len(QUANTIZED) + "---|",
        *(row(subject, known) for subject in ZOO),
        "",
        *costs(known),
    ]
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def verdicts(known: dict[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    for method in QUANTIZED:
        found = [line for subject in ZOO if (line := known.get((subject.name, method))) is not None]
        measured = [line for line in found if "drop" in line]
        if not measured:
            continue
        worst = max(measured, key=lambda line: float(line["drop"]))
        said = f"worst drop {worst['drop'] * 100:.2f} ± {worst['margin'] * 100:.2f} points ({worst['subject']})"
        said += f", {len(measured)} of {len(ZOO)} networks measured"
        if len(found) > len(measured):
            said += f", {len(found) - len(measured)} refused"
        if method == LADDER:
            missed = worst["drop"] - GOAL_DROP
            silent = [line for line in measured if line["within"] and line["drop"] - line["margin"] > GOAL_DROP]
            reached = "reached" if len(found) == len(ZOO) else "not missed so far"
            said += f"; goal {GOAL_DROP:.1%}: " + (reached if missed <= 0 else f"missed by {missed * 100:.2f} points")
            said += f"; {sum(line['drop'] <= GOAL_DROP for line in measured)} of {len(measured)} are within it"
            said += f"; called within tolerance and surely not so on the test pictures: {len(silent)}"
        yield f"- {method}: {said}."
    asked = [(subject, line) for subject in ZOO if (line := known.get((subject.name, CAUSE))) is not None]
    planted = [line["right"] for subject, line in asked if subject.planted]
    honest = [line["named"] for subject, line in asked if not subject.planted]
    if planted:
        share = sum(planted) / len(planted)
        reached = "reached" if len(asked) == len(ZOO) else "not missed so far"
        verdict = reached if share >= GOAL_NAMED else "missed"
        yield (
            f"- Planted cause named first: {sum(planted)} of {len(planted)} (goal {GOAL_NAMED:.0%}: {verdict}); a "
            f"cause named in an honest network: {sum(name is not None for name in honest)} of {len(honest)}."
        )


def row(subject: Subject, known: dict[tuple[str, str], dict[str, Any]]) -> str:
    cells = [subject.name, subject.planted or ""]
    cause, whole = known.get((subject.name, CAUSE)), known.get((subject.name, FLOAT))
    cells.append("" if cause is None else (cause["named"] or "none") + ("" if cause["right"] else " (wrong)"))
    cells.append("" if whole is None else f"{whole['accuracy'] * 100:.2f}")
    for method in QUANTIZED:
        line = known.get((subject.name, method), {})
        drop = f"{line['drop'] * 100:.2f} ± {line['margin'] * 100:.2f}" if "drop" in line else ""
        cells.append("refused" if "refused" in line else drop)
    climbed_ = known.get((subject.name, LADDER), {})
    left = f": {', '.join(climbed_['left_float'])}" if climbed_.get("left_float") else ""
    cells.append(climbed_.get("rung", "") + left + ("" if climbed_.get("within", True) else " (not within, said)"))
    return "| " + " | ".join(cells) + " |"


def costs(known: dict[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    """Medians of each way to a file, over the networks that went it."""
    yield "Medians over the networks of which there is such a file."
    if any(kind == "latency" for _, kind in known):
        yield "Latency and memory: files measured against each other on `local`, one thread."
    yield ""
    yield "| file | bytes | p50 latency µs | against float | memory of the model KiB | seconds to make and judge |"
    yield "|---|--:|--:|--:|--:|--:|"
    for method in (FLOAT, *QUANTIZED):
        found = [line for subject in ZOO if "bytes" in (line := known.get((subject.name, method), {}))]
        if not found:
            continue
        timed = [line["rows"] for (_, kind), line in known.items() if kind == "latency" and method in line["rows"]]
        cells = [method, f"{median(line['bytes'] for line in found):,.0f}"]
        if timed:
            cells.append(f"{median(rows[method]['p50_ns'] for rows in timed) / 1e3:.1f}")
            ratios = [rows[method]["p50_ns"] / rows[FLOAT]["p50_ns"] for rows in timed if FLOAT in rows]
            cells.append(f"{median(ratios):.2f}" if ratios else "")
            memory = [rows[method]["model_rss_bytes"] for rows in timed if rows[method]["model_rss_bytes"] is not None]
            cells.append(f"{median(memory) / 1024:,.0f}" if memory else "")
        else:
            cells += ["", "", ""]
        cells.append(f"{median(line['seconds'] for line in found):.0f}")
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--seconds", type=float, default=float("inf"), help="begin no file after so many")
    running.add_argument("--methods", default=",".join((FLOAT, CAUSE, LADDER, RAW, AEQ, TFMOT)))
    running.add_argument("--stop-file", type=Path, help="begin none while this file exists")
    commands.add_parser("latency")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # read when TensorFlow starts
        run(arguments.seconds, tuple(arguments.methods.split(",")), arguments.stop_file)
    elif arguments.command == "latency":
        latency()
    else:
        table()


if __name__ == "__main__":
    main()
