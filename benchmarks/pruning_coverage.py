"""Half of the channels of every model of keras.applications, removed, proven, converted, and timed against the whole.

For each model, with random weights and randomised BatchNorm statistics: 50 % of every group of channels (multiples of
8, largest L2 norm kept) and the proof that the smaller model computes what the whole one computes with the removed
channels zeroed; then both, converted to float32 and to int8, in one interleaved session on this machine. Resumable:
each step of a model is a line of JSON; steps that have one are not done again. Smallest first, each in a process of its
own.

    python benchmarks/pruning_coverage.py run --seconds 240                    # as many steps as that allows
    python benchmarks/pruning_coverage.py run --step prune --step float32      # without int8
    python benchmarks/pruning_coverage.py table                                # what is known so far, as Markdown
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from edgepress_converters.options import Format

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "pruning_coverage.jsonl"
TABLE = RESULTS / "pruning_coverage.md"
SPARSITY = 0.5
ROUND_TO = 8
# 1: BatchNorm weights were moved at random; 2: biases and scales that have one value throughout, too; 3: as 2, from
# statistics of the activations. The same is shown by 2 of the models that stay in float32's range without.
PROOF, OLDEST_PROOF = 3, 2
LARGEST = 200_000_000  # parameters: converting more takes more memory than the machine has
PROCESSES = 6
CALIBRATION_SAMPLES = 4  # of noise: the weights are random, too
ALLOWED_FLOAT = ("RSQRT", "NEG")  # of LayerNormalization, which TensorFlow has no integers for
MEDIAN_GOAL, WORST_GOAL = 0.40, 0.60

PRUNE = "prune"
FORMATS = ("float32", "int8")
STEPS = (PRUNE, *FORMATS)
MODELS = (  # by number of parameters
    *("MobileNetV3Small", "MobileNetV2", "MobileNet", "NASNetMobile", "EfficientNetB0", "MobileNetV3Large"),
    *("EfficientNetV2B0", "EfficientNetB1", "DenseNet121", "EfficientNetV2B1", "EfficientNetB2", "EfficientNetV2B2"),
    *("EfficientNetB3", "DenseNet169", "EfficientNetV2B3", "EfficientNetB4", "DenseNet201", "EfficientNetV2S"),
    *("Xception", "InceptionV3", "ResNet50V2", "ResNet50", "ConvNeXtTiny", "EfficientNetB5", "EfficientNetB6"),
    *("ResNet101V2", "ResNet101", "ConvNeXtSmall", "EfficientNetV2M", "InceptionResNetV2", "ResNet152V2", "ResNet152"),
    *("EfficientNetB7", "ConvNeXtBase", "NASNetLarge", "EfficientNetV2L", "VGG16", "VGG19", "ConvNeXtLarge"),
    "ConvNeXtXLarge",
)


def run(seconds: float, names: tuple[str, ...], steps: tuple[str, ...]) -> None:
    """Do the steps that have no line yet, until the time is over."""
    deadline = time.monotonic() + seconds
    for name in names:
        missing = [step for step in steps if step not in known().get(name, {})]
        left = deadline - time.monotonic()
        if not missing or left <= 0:
            continue
        words = ["one", name, "--seconds", f"{left:.0f}", *(f"--step={step}" for step in missing)]
        ended = subprocess.run([sys.executable, __file__, *words], check=False)
        if ended.returncode:
            died_in = next((step for step in missing if step not in known().get(name, {})), missing[-1])
            record({"model": name, "step": died_in, "error": f"the process ended with {ended.returncode}"})


def one(name: str, steps: tuple[str, ...], seconds: float) -> None:
    """Do steps of one model, and record each when it is done; none is begun when the time is over."""
    from edgepress.errors import EdgepressError

    deadline = time.monotonic() + seconds
    model = build(name)
    try:
        pruned, line = prune(model)
    except EdgepressError as error:
        for step in steps:
            record({"model": name, "step": step, "error": str(error)})
        return
    if PRUNE in steps:
        record({"model": name, "step": PRUNE, **line})
    for step in steps:
        if step == PRUNE or time.monotonic() > deadline:
            continue
        if line["parameters"] > LARGEST:
            record({"model": name, "step": step, "left_out": f"more than {LARGEST / 1e6:.0f} M parameters"})
            continue
        try:
            measured = measure(model, pruned, cast("Format", step))
        except EdgepressError as error:
            measured = {"error": str(error)}
        record({"model": name, "step": step, **measured})


def build(name: str) -> Any:
    """A model with random weights, and the BatchNorm statistics of a trained one: those of its activations (on noise),
    so that deep models stay in range, and then moved at random by about their own size."""
    import keras
    import numpy as np

    from edgepress.compression.graph.reader import read
    from edgepress.compression.pruning.proof import random_inputs
    from edgepress.training.seeds import seeded

    with seeded(0):
        model = getattr(keras.applications, name)(weights=None)
        if None in model.input_shape[1:]:  # the size is left open: MACs need one
            model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
        layers = [layer for layer in read(model).layers().values() if type(layer) is keras.layers.BatchNormalization]
        momentum = [layer.momentum for layer in layers]
        for layer in layers:
            layer.momentum = 0.0
        model(random_inputs(model), training=True)
    generator = np.random.default_rng(0)
    for layer, of_layer in zip(layers, momentum, strict=True):
        layer.momentum = of_layer
        *scale_and_shift, mean, variance = layer.get_weights()
        moved = [value + generator.normal(0, 0.2, value.shape) for value in scale_and_shift]
        shift = 0.2 * np.sqrt(variance + layer.epsilon) * generator.normal(size=mean.shape)
        layer.set_weights([*moved, mean + shift, variance * generator.uniform(0.7, 1.4, variance.shape)])
    return model


def prune(model: Any) -> tuple[Any, dict[str, Any]]:
    """The model with half of its channels, and what is to be said of that.

    Raises:
        CompressionError: it is not what it should be.
    """
    import numpy as np

    from edgepress.compression.graph.channels import channels_of
    from edgepress.compression.graph.reader import read
    from edgepress.compression.graph.rules import rule_for
    from edgepress.compression.pruning.importance import scores_of
    from edgepress.compression.pruning.removal import kept_count, strongest
    from edgepress.compression.pruning.surgery import remove_channels
    from edgepress.training.cost import cost_of

    before = cost_of(model)
    started = time.monotonic()
    channels = channels_of(read(model), rule_for)
    scores = partial(scores_of, channels, of_filters=lambda _, filters: np.linalg.norm(filters, axis=1))
    removable = [group for group in channels.groups if group.frozen is None]
    removed = [
        np.setdiff1d(group.atoms, strongest(group, scores(group), kept_count(len(group.atoms), SPARSITY, ROUND_TO)))
        for group in removable
    ]
    surgery = remove_channels(channels, np.concatenate(removed))
    seconds = time.monotonic() - started
    after = cost_of(surgery.model)
    return surgery.model, {
        "parameters": before.parameters,
        "macs": before.macs,
        "parameters_after": after.parameters,
        "macs_after": after.macs,
        "groups": len(removable),
        "channels": sum(len(group.atoms) for group in removable),
        "channels_removed": sum(len(part) for part in removed),
        "largest_difference": surgery.largest_difference,
        "proof": PROOF,
        "constants_folded": len(surgery.folded),
        "frozen": sorted({f"{', '.join(g.producers)}: {g.frozen}" for g in channels.groups if g.frozen is not None}),
        "seconds": round(seconds, 2),
    }


def measure(model: Any, pruned: Any, format: Format) -> dict[str, Any]:
    """Convert both models and run them in one session; lists hold the whole model's number first.

    Raises:
        EdgepressError: one of them does not convert or does not run.
    """
    import numpy as np

    from edgepress.benchmarking import session
    from edgepress.benchmarking.comparison import compare_runs
    from edgepress.benchmarking.plans import PLANS
    from edgepress.benchmarking.statistics import summarize
    from edgepress.benchmarking.verdict import judge_run
    from edgepress.conversion import convert_model
    from edgepress.devices.device import Device
    from edgepress_converters.options import ConversionOptions
    from edgepress_converters.pool import WorkerPool

    started = time.monotonic()
    noise = np.random.default_rng(0).random((CALIBRATION_SAMPLES, *model.input_shape[1:]), dtype=np.float32)
    plan = replace(PLANS["quick"], processes=PROCESSES, warmup_min_runs=2, max_duration_ns=2_000_000_000)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        os.environ["EDGEPRESS_HOME"] = f"{folder}/home"  # what is pushed there goes with the folder
        with WorkerPool() as pool:
            options = ConversionOptions(format=format, allow_float=ALLOWED_FLOAT)
            files = [
                convert_model(each, Path(folder) / f"{which}.tflite", options, (noise,), pool)
                for which, each in (("whole", model), ("pruned", pruned))
            ]
        converted = time.monotonic()
        with Device.open("local") as device:
            report = session.measure(device, files, plan)
            session.acknowledge(device, report)
    runs = [session.require_samples(run, "local") for run in report.runs]
    ratio = compare_runs(runs[0], runs[1], None).ratio
    memory = [[process.memory for process in run.processes] for run in runs]
    return {
        "latency_ratio": round(ratio.value, 4),
        "latency_ratio_low": round(ratio.low, 4),
        "latency_ratio_high": round(ratio.high, 4),
        "latency_p50_ns": [summarize(run).p50_ns for run in runs],
        "verdicts": [str(judge_run(run, report.states).name) for run in runs],
        "model_rss_bytes": [max(one.peak_rss_bytes - one.import_rss_bytes for one in each) for each in memory],
        "tflite_bytes": [file.size_bytes for file in files],
        "left_float": sorted({o.kind for file in files for o in file.float_operators if format == "int8"}),
        "runtime": f"{runs[0].runtime.name} {runs[0].runtime.version}",
        "cpu": report.facts.cpu_model if report.facts else None,
        "seconds_to_convert": round(converted - started, 1),
        "seconds_to_measure": round(time.monotonic() - converted, 1),
    }


def record(line: dict[str, Any]) -> None:
    with LINES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    sys.stderr.write(f"{line}\n")


def known() -> dict[str, dict[str, dict[str, Any]]]:
    """The lines by model and step; no proof older than the present kind."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for text in LINES.read_text(encoding="utf-8").splitlines() if LINES.exists() else ():
        line = json.loads(text)
        if line.get("proof", PROOF) >= OLDEST_PROOF:
            found.setdefault(line["model"], {})[line["step"]] = line
    return found


def table() -> None:
    """Write the table."""
    lines = known()
    models = [name for name in MODELS if name in lines]
    proven = {name: lines[name][PRUNE] for name in models if "channels" in lines[name].get(PRUNE, {})}
    timed = {
        format: {name: lines[name][format] for name in models if "latency_ratio" in lines[name].get(format, {})}
        for format in FORMATS
    }
    text = [*heading(timed), "", *findings(lines, proven, timed), "", *rows(proven, timed)]
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def heading(timed: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    from importlib.metadata import version

    seen = [line for by_name in timed.values() for line in by_name.values()]
    where = sorted({f"{line['runtime']}, {line['cpu']}" for line in seen})
    return [
        "# Structured pruning of keras.applications: half of the channels",
        "",
        "    python benchmarks/pruning_coverage.py run && python benchmarks/pruning_coverage.py table",
        "",
        f"Python {platform.python_version()}, tensorflow {version('tensorflow')}, keras {version('keras')}, "
        f"{platform.machine()}, {os.cpu_count()} cores, shared with other work; measured on: {'; '.join(where)}. "
        f"weights=None, BatchNorm statistics randomised, {SPARSITY:.0%} of each group of channels in multiples of "
        f"{ROUND_TO}. Difference: largest between two logits, relative to the largest logit, of the smaller model and "
        "of the whole one with the removed channels zeroed, BatchNorm statistics, biases and scales moved at random. "
        f"Latency: one thread, the whole and the pruned file in one session of {PROCESSES} interleaved processes each, "
        "ratio of the medians with its 95 % interval over rounds; * where a row's verdict is not stable. Memory: what "
        "a worker process takes at most beyond its imports.",
    ]


def findings(
    lines: dict[str, dict[str, dict[str, Any]]],
    proven: dict[str, dict[str, Any]],
    timed: dict[str, dict[str, dict[str, Any]]],
) -> list[str]:
    """How far the goals are met, and what is not there."""
    worst = max((line["largest_difference"] for line in proven.values()), default=0.0)
    found = [f"- Pruned and proven: {len(proven)} of {len(MODELS)}; largest difference {worst:.1e} (goal 1e-4)."]
    for format, by_name in timed.items():
        ratios = sorted((line["latency_ratio"], name) for name, line in by_name.items())
        if ratios:
            middle, (most, slowest) = statistics.median(ratio for ratio, _ in ratios), ratios[-1]
            stable = sum(set(line["verdicts"]) == {"stable"} for line in by_name.values())
            found.append(
                f"- {format}: {len(ratios)} converted and run, both rows stable for {stable}. Latency left: median "
                f"{middle:.2f} (goal {MEDIAN_GOAL:.2f}), most {most:.2f}, {slowest} (goal {WORST_GOAL:.2f})."
            )
    for step in STEPS:
        steps = {name: lines.get(name, {}).get(step) for name in MODELS}
        absent = [name for name, line in steps.items() if line is None]
        left_out = [f"{name} ({line['left_out']})" for name, line in steps.items() if line and "left_out" in line]
        failed = [f"{name} ({line['error']})" for name, line in steps.items() if line and "error" in line]
        for what, names in (("not run yet", absent), ("left out", left_out), ("failed", failed)):
            if names:
                found.append(f"- {step}, {what}: {', '.join(names)}.")
    floats = {name: line["left_float"] for name, line in timed["int8"].items() if line["left_float"]}
    found += [f"- int8 of {name}: these operators stay float: {', '.join(them)}." for name, them in floats.items()]
    frozen = sorted(
        {f"{name}: {why}" for name, line in proven.items() for why in line["frozen"] if "softmax" not in why}
    )
    return found + [f"- {why}" for why in frozen]


def rows(proven: dict[str, dict[str, Any]], timed: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    columns = [
        *("model", "parameters", "left", "MMACs", "left", "difference", "folded", "s"),
        *(f"{format}{what}" for format in FORMATS for what in (", ms", ": left", ": memory, MB", ": left")),
    ]
    text = [f"| {' | '.join(columns)} |", f"|---|{'--:|' * (len(columns) - 1)}"]
    for name, line in proven.items():
        cells = [
            name,
            f"{line['parameters']:,}",
            f"{line['parameters_after'] / line['parameters']:.2f}",
            f"{line['macs'] / 1e6:,.0f}",
            f"{line['macs_after'] / line['macs']:.2f}",
            f"{line['largest_difference']:.1e}",
            str(line["constants_folded"]),
            f"{line['seconds']:.1f}",
        ]
        for format in FORMATS:
            cells += timed_cells(timed[format].get(name))
        text.append(f"| {' | '.join(cells)} |")
    return text


def timed_cells(line: dict[str, Any] | None) -> Iterator[str]:
    if line is None:
        yield from ("", "", "", "")
        return
    (whole_ns, _), (whole_bytes, bytes_left) = line["latency_p50_ns"], line["model_rss_bytes"]
    mark = "" if set(line["verdicts"]) == {"stable"} else "*"
    yield f"{whole_ns / 1e6:.1f}"
    yield f"{line['latency_ratio']:.2f} ({line['latency_ratio_low']:.2f} to {line['latency_ratio_high']:.2f}){mark}"
    yield f"{whole_bytes / 1e6:.0f}"
    yield f"{bytes_left / whole_bytes:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("run")
    measuring.add_argument("models", nargs="*", default=MODELS)
    child = commands.add_parser("one", help="what run starts: a model in a process of its own")
    child.add_argument("model", choices=MODELS)
    for command in (measuring, child):
        command.add_argument("--seconds", type=float, default=1e9, help="begin nothing after so many")
        command.add_argument("--step", action="append", choices=STEPS, help="repeatable (default: all)")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.seconds, tuple(arguments.models), tuple(arguments.step or STEPS))
    elif arguments.command == "one":
        one(arguments.model, tuple(arguments.step or STEPS), arguments.seconds)
    else:
        table()


if __name__ == "__main__":
    main()
