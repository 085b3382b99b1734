"""Half of the channels of every model of keras.applications, removed and proven.

For each model, with random weights and randomised BatchNorm statistics: 50 % of every group of channels (multiples of
8, largest L2 norm kept), the proof that the smaller model computes what the whole one computes with the removed
channels zeroed, parameters, multiply-accumulates and seconds. Resumable: each model is a JSON line; models that have
one are not run again. Smallest first.

    python benchmarks/pruning_coverage.py run --seconds 300      # as many models as that allows
    python benchmarks/pruning_coverage.py table                  # what is known so far, as Markdown
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results"
LINES = RESULTS / "pruning_coverage.jsonl"
TABLE = RESULTS / "pruning_coverage.md"
SPARSITY = 0.5
ROUND_TO = 8
PROOF = 2  # 1: BatchNorm weights were moved at random; 2: biases and scales that have one value throughout, too
MODELS = (  # by number of parameters
    *("MobileNetV3Small", "MobileNetV2", "MobileNet", "NASNetMobile", "EfficientNetB0", "MobileNetV3Large"),
    *("EfficientNetV2B0", "EfficientNetB1", "DenseNet121", "EfficientNetV2B1", "EfficientNetB2", "EfficientNetV2B2"),
    *("EfficientNetB3", "DenseNet169", "EfficientNetV2B3", "EfficientNetB4", "DenseNet201", "EfficientNetV2S"),
    *("Xception", "InceptionV3", "ResNet50V2", "ResNet50", "ConvNeXtTiny", "EfficientNetB5", "EfficientNetB6"),
    *("ResNet101V2", "ResNet101", "ConvNeXtSmall", "EfficientNetV2M", "InceptionResNetV2", "ResNet152V2", "ResNet152"),
    *("EfficientNetB7", "ConvNeXtBase", "NASNetLarge", "EfficientNetV2L", "VGG16", "VGG19", "ConvNeXtLarge"),
    "ConvNeXtXLarge",
)


def run(seconds: float, names: tuple[str, ...]) -> None:
    """Measure models that have no line yet, until the time is over."""
    deadline = time.monotonic() + seconds
    known = {line["model"] for line in lines()}
    for name in names:
        if name in known:
            continue
        if time.monotonic() > deadline:
            return
        line = measure(name)
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        sys.stderr.write(f"{line}\n")


def measure(name: str) -> dict[str, Any]:
    """Prune one model; an error is a result, too."""
    import keras
    import numpy as np

    from edgepress.compression.graph.channels import channels_of
    from edgepress.compression.graph.reader import read
    from edgepress.compression.graph.rules import rule_for
    from edgepress.compression.pruning.importance import scores_of
    from edgepress.compression.pruning.removal import kept_count, strongest
    from edgepress.compression.pruning.surgery import remove_channels
    from edgepress.errors import EdgepressError
    from edgepress.training.cost import cost_of
    from edgepress.training.seeds import seeded

    keras.backend.clear_session()
    with seeded(0):
        model = getattr(keras.applications, name)(weights=None)
        if None in model.input_shape[1:]:  # the size is left open: MACs need one
            model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    randomise(model)
    before = cost_of(model)
    line: dict[str, Any] = {"model": name, "parameters": before.parameters, "macs": before.macs}
    started = time.monotonic()
    channels = channels_of(read(model), rule_for)
    scores = partial(scores_of, channels, of_filters=lambda _, filters: np.linalg.norm(filters, axis=1))
    removable = [group for group in channels.groups if group.frozen is None]
    line["frozen"] = sorted({f"{', '.join(g.producers)}: {g.frozen}" for g in channels.groups if g.frozen is not None})
    removed = [
        np.setdiff1d(group.atoms, strongest(group, scores(group), kept_count(len(group.atoms), SPARSITY, ROUND_TO)))
        for group in removable
    ]
    try:
        surgery = remove_channels(channels, np.concatenate(removed))
    except EdgepressError as error:
        return {**line, "error": str(error)}
    line["seconds"] = round(time.monotonic() - started, 2)
    after = cost_of(surgery.model)
    return {
        **line,
        "groups": len(removable),
        "channels": sum(len(group.atoms) for group in removable),
        "channels_removed": sum(len(part) for part in removed),
        "parameters_after": after.parameters,
        "macs_after": after.macs,
        "largest_difference": surgery.largest_difference,
        "constants_folded": len(surgery.folded),
        "proof": PROOF,
    }


def randomise(model: Any) -> None:
    """BatchNorm statistics that are not a fresh layer's, near 1 so that deep models stay in range."""
    import keras
    import numpy as np

    from edgepress.compression.graph.reader import read

    generator = np.random.default_rng(0)
    for layer in read(model).layers().values():
        if isinstance(layer, keras.layers.BatchNormalization):
            *scale_and_shift, mean, variance = layer.get_weights()
            moved = [value + generator.normal(0, 0.2, value.shape) for value in (*scale_and_shift, mean)]
            layer.set_weights([*moved, variance * generator.uniform(0.7, 1.4, variance.shape)])


def lines() -> list[dict[str, Any]]:
    """What was measured so far."""
    if not LINES.exists():
        return []
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]


def table() -> None:
    """Write the table."""
    import keras
    import tensorflow as tf

    rows = sorted(lines(), key=lambda line: line["parameters"])
    done = [row for row in rows if "error" not in row]
    ratios = [row["macs_after"] / row["macs"] for row in done]
    missing = [name for name in MODELS if name not in {row["model"] for row in rows}]
    text = [
        "# Coverage of structured pruning: half of the channels of keras.applications",
        "",
        "    python benchmarks/pruning_coverage.py run && python benchmarks/pruning_coverage.py table",
        "",
        f"Python {platform.python_version()}, tensorflow {tf.__version__}, keras {keras.__version__}, "
        f"{platform.machine()}, {os.cpu_count()} cores (shared with other work: seconds are upper bounds). "
        f"weights=None, BatchNorm statistics randomised, {SPARSITY:.0%} of each group of channels in multiples of "
        f"{ROUND_TO}. Difference: largest between two logits, relative to the largest logit, of the smaller model and "
        "of the whole one with the removed channels zeroed. Proof 1 moves BatchNorm weights at random, proof 2 biases "
        "and scales of fresh layers, too.",
        "",
        f"{len(done)} of {len(MODELS)} models pruned and proven; failed: "
        f"{', '.join(row['model'] for row in rows if 'error' in row) or 'none'}; "
        f"not run: {', '.join(missing) or 'none'}. "
        f"Largest difference {max(row['largest_difference'] for row in done):.1e}. MACs left: median "
        f"{statistics.median(ratios):.2f}, most {max(ratios):.2f}. Not converted, run or timed here.",
        "",
        "| model | parameters | left | MMACs | left | removed | difference | proof | folded constants | s | frozen |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        start = f"| {row['model']} | {row['parameters']:,} |"
        if "error" in row:
            text.append(f"{start} | {row['macs'] / 1e6:,.0f} | | | {row['error']} | | | | |")
            continue
        text.append(
            f"{start} {row['parameters_after'] / row['parameters']:.2f} | {row['macs'] / 1e6:,.0f} | "
            f"{row['macs_after'] / row['macs']:.2f} | {row['channels_removed']} of {row['channels']} | "
            f"{row['largest_difference']:.1e} | {row.get('proof', 1)} | {row['constants_folded']} | "
            f"{row['seconds']:.1f} | {'; '.join(row['frozen'])} |"
        )
    TABLE.write_text("\n".join(text) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("run")
    measuring.add_argument("--seconds", type=float, default=float("inf"), help="start no model after so many")
    measuring.add_argument("models", nargs="*", default=MODELS)
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.seconds, tuple(arguments.models))
    else:
        table()


if __name__ == "__main__":
    main()
