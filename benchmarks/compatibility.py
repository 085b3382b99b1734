"""Which runtime takes which file, beside what the guard says: keras.applications x formats x TFLite runtimes.

Thirteen models of keras.applications in small, with random weights and BatchNorm statistics of their data, are
converted in every format; each file is then loaded and run in four runtimes, each in a virtual environment of its own,
and its outputs are checked against this machine's. The guard's word (``edgepress_converters.runtimes``) is taken when
the table is written. Resumable: what has a line is not done again.

    python benchmarks/compatibility.py run --seconds 280       # as much as that allows
    python benchmarks/compatibility.py table                   # what is known so far, as Markdown
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from resumable import Line, add_line, add_missing, read_lines
from runtime_venvs import RUNTIMES, python_with

from edgepress.conversion import translated
from edgepress.errors import EdgepressError
from edgepress.verification.goldens import Goldens
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress.verification.reference import run_file, to_raw
from edgepress_converters import runtimes
from edgepress_converters.model import OperatorUse, TFLiteModel
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from edgepress_converters.probing.probe import run_in_processes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
RESULTS = Path(__file__).parent / "results"
LINES, TABLE = RESULTS / "compatibility.jsonl", RESULTS / "compatibility.md"
CACHE = Path(platformdirs.user_cache_dir("edgepress")) / "benchmarks" / "compatibility"
SIDE = 64  # pixels; some models need more
SIDES = {"InceptionV3": 75, "Xception": 71}
WIDTHS = {"MobileNet": 0.25, "MobileNetV2": 0.35}
OF_BYTES = ("MobileNetV3", "EfficientNet", "ConvNeXt")  # these scale values of 0 to 255 themselves
MODELS = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "ResNet50", "EfficientNetB0", "ConvNeXtTiny"),
    *("DenseNet121", "ResNet50V2", "EfficientNetV2B0", "Xception", "InceptionV3", "NASNetMobile"),
)
ALLOWED = ("NEG", "RSQRT", "SQUARED_DIFFERENCE")  # of LayerNormalization, which has no integers
QUANTIZER: dict[str, Any] = {"backend": "ai-edge-quantizer", "allow_float": ALLOWED}
CASES: dict[str, ConversionOptions] = {
    "float32": ConversionOptions("float32"),
    "float16": ConversionOptions("float16"),
    "dynamic": ConversionOptions("dynamic"),
    "int8": ConversionOptions("int8", allow_float=ALLOWED),
    "int8, float in and out": ConversionOptions("int8", "float32", allow_float=ALLOWED),
    "int16x8": ConversionOptions("int16x8", allow_float=ALLOWED),
    "dynamic, quantizer": ConversionOptions("dynamic", **QUANTIZER),
    "int8, quantizer": ConversionOptions("int8", **QUANTIZER),
    "int4, quantizer": ConversionOptions("dynamic", **QUANTIZER, int4_weights=("*",)),
}
CALIBRATION = 8
SAMPLES = 8


def build(name: str) -> tuple[Any, np.ndarray[Any, Any]]:
    """A model with logits as outputs, and inputs for it."""
    import keras

    keras.utils.set_random_seed(0)
    side = SIDES.get(name, SIDE)
    width = {"alpha": WIDTHS[name]} if name in WIDTHS else {}
    constructor = getattr(keras.applications, name)
    model = constructor(input_shape=(side, side, 3), weights=None, classes=10, classifier_activation=None, **width)
    low, high = (0, 255) if name.startswith(OF_BYTES) else (-1, 1)
    shape = (CALIBRATION + SAMPLES, side, side, 3)
    images = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
    for layer in model.layers:
        if hasattr(layer, "momentum"):
            layer.momentum = 0.5
    for _ in range(4):  # statistics of the data: with those of an untrained model all answers are alike
        model(images[:CALIBRATION], training=True)
    return model, images


def one(name: str, seconds: float) -> None:
    """Convert a model in every format, and run the files in every runtime."""
    from edgepress_converters.export import export_saved_model

    deadline = time.monotonic() + seconds
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    model, images = build(name)
    inputs = (images[CALIBRATION:],)
    with WorkerPool() as pool, tempfile.TemporaryDirectory() as scratch:
        saved_model = Path(scratch) / "saved_model"
        export_saved_model(model, saved_model)

        def measured(case: str) -> Line:
            line: Line = {"model": name, "case": case}
            target = folder / f"{list(CASES).index(case)}.tflite"
            try:
                with translated():
                    file = pool.convert(saved_model, target, CASES[case], (images[:CALIBRATION],))
                answers = [run_file(file, inputs, pool, delegate=delegate) for delegate in ("default", "none")]
                goldens = Goldens(inputs, None, answers[0], answers[1])
            except EdgepressError as error:
                return {**line, "not_converted": str(error)[:400]}
            line |= {"sha256": file.sha256, "bytes": file.size_bytes}
            line |= {"operators": [(use.name, use.version) for use in file.operators], "types": file.tensor_types}
            return {**line, "signatures": file.signatures, "runtimes": outcomes(file, goldens)}

        add_missing(LINES, CASES, known_cases(name), measured, deadline - time.monotonic(), None)


def outcomes(file: Any, goldens: Goldens) -> dict[str, str]:
    """By runtime: "ran", or why not."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "0.tflite").symlink_to(file.path)
        raw = to_raw(file, goldens.inputs)
        by_position = sorted(zip((spec.position for spec in file.inputs), raw, strict=True), key=lambda pair: pair[0])
        np.savez(folder / "0.npz", *[array[:, None] for _, array in by_position])
        for name, version in RUNTIMES:
            outcome = run_in_processes(str(python_with(name, version)), folder, f"{name}-{version}")[0]
            if outcome == "ran":
                with np.load(folder / f"0.{name}-{version}.npz") as arrays:
                    answers = [arrays[f"arr_{spec.position}"][:, 0] for spec in file.outputs]
                check = check_outputs(goldens, file, answers)
                outcome = "ran" if check.level is not OutputCheckLevel.WRONG else f"wrong: {check.message}"
            found[f"{name} {version}"] = outcome
    return found


def known_cases(name: str) -> set[str]:
    """Of a model, what has a line."""
    return {line["case"] for line in read_lines(LINES, None) if line["model"] == name}


def run(seconds: float) -> None:
    """Do what has no line yet, each model in a process of its own, until the time is over."""
    deadline = time.monotonic() + seconds
    for name in MODELS:
        left = deadline - time.monotonic()
        if known_cases(name) >= CASES.keys() or left <= 0:
            continue
        ended = subprocess.run([sys.executable, __file__, "one", name, "--seconds", f"{left:.0f}"], check=False)
        if ended.returncode:
            known = known_cases(name)
            missing = next(case for case in CASES if case not in known)
            why = f"the process ended with {ended.returncode}"
            add_line(LINES, {"model": name, "case": missing, "not_converted": why})


def guard(line: dict[str, Any], runtime: str) -> str:
    """What the guard says of a file in a runtime, by what the file says of itself: empty if it takes it."""
    file = TFLiteModel(
        Path(f"{line['model']} {line['case']}"),
        line["sha256"],
        line["bytes"],
        inputs=(),
        outputs=(),
        operators=tuple(OperatorUse(name, version, 1, 0) for name, version in line["operators"]),
        tensor_types=tuple((name, count) for name, count in line["types"]),
        float_operators=(),
        signatures=tuple(line["signatures"]),
    )
    return "; ".join(runtimes.incompatibilities(file, *runtime.split()))


def table() -> None:
    """Write what is known as Markdown."""
    lines = [line for line in read_lines(LINES, None) if line["case"] in CASES]
    ran = [line for line in lines if "runtimes" in line]
    names = [f"{name} {version}" for name, version in RUNTIMES]
    judged = [(line, name, line["runtimes"][name], guard(line, name)) for line in ran for name in names]
    missed = [each for each in judged if not each[3] and each[2] != "ran"]
    needless = [each for each in judged if each[3] and each[2] == "ran"]
    right = [each for each in judged if each[3] and each[2] != "ran"]
    versions = ", ".join(
        f"{package} {metadata.version(package)}"
        for package in ("edgepress", "tensorflow", "keras", "ai-edge-quantizer")
    )
    text = [
        "# Which runtime takes which file, and what the guard says",
        "",
        "    python benchmarks/compatibility.py run && python benchmarks/compatibility.py table",
        "",
        f"- {versions}, Python {platform.python_version()}, {platform.machine()}, Linux {platform.release()}",
        f"- {len(lines)} of {len(MODELS) * len(CASES)} conversions were tried so far: {len(ran)} files, and "
        f"{len(lines) - len(ran)} that were refused before; each file in {len(names)} runtimes, {len(judged)} in all",
        f"- the guard said yes, and it did not load or answered wrongly: **{len(missed)}** (goal 0)",
        f"- the guard said no, and it ran: **{len(needless)}**, {len(needless) / max(1, len(judged)):.1%} "
        "(goal 2 % at most)",
        f"- the guard said no, and it did not load, or answered wrongly: {len(right)}",
        "",
        "`ran`: loaded, and its outputs pass the output check against this machine's.",
        "",
        "| model | " + " | ".join(CASES) + " |",
        "|---|" + "---|" * len(CASES),
    ]
    for model in MODELS:
        cells = []
        for case in CASES:
            line = next((line for line in lines if (line["model"], line["case"]) == (model, case)), None)
            if line is None:
                cells.append("")
            elif "runtimes" not in line:
                cells.append("not converted")
            else:
                bad = [name for name in names if line["runtimes"][name] != "ran"]
                cells.append("ran in all" if not bad else "not in " + ", ".join(bad))
        text.append(f"| {model} | {' | '.join(cells)} |")
    for title, found in (
        ("The guard said yes, and it failed", missed),
        ("The guard said no, and it ran", needless),
        ("The guard said no, and it was right", right),
    ):
        text += ["", f"## {title}", ""]
        text += [
            f"- {line['model']}, {line['case']}, {name}: {outcome[:160]}" + (f" (guard: {said[:160]})" if said else "")
            for line, name, outcome, said in found
        ] or ["None."]
    text += ["", "## Not converted", ""]
    text += [
        f"- {line['model']}, {line['case']}: {line['not_converted']}" for line in lines if "not_converted" in line
    ] or ["None."]
    TABLE.write_text("\n".join(text) + "\n")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "one"):
        command = commands.add_parser(name)
        command.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after so many")
        if name == "one":
            command.add_argument("model", choices=MODELS)
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.seconds)
    elif arguments.command == "one":
        one(arguments.model, arguments.seconds)
    else:
        table()


if __name__ == "__main__":
    main()
