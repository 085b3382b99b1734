"""How far outputs of an emulated ARM board are from this machine's, and which operator begins to differ.

    python benchmarks/emulator_outputs.py RESULT.md [--digits demo/digits.keras --data demo/digits.npz]

Four models, every format that converts, every runtime of the board: the files are evaluated on the board and on this
machine, and compared on 8 inputs. For the int8 file that differs most, the same file is run with all tensors preserved
on both sides, and operators are listed in the order in which they run, with how far their outputs are apart.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.benchmarking.session import evaluate
from edgepress.conversion import convert_model
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.emulator import ImageRecipe, create, destroy
from edgepress.errors import EdgepressError
from edgepress.models import import_keras, load_model
from edgepress.verification.goldens import make_goldens
from edgepress.verification.output_check import check_outputs
from edgepress.verification.reference import to_real
from edgepress_converters.options import FORMATS, ConversionOptions, Format
from edgepress_converters.pool import WorkerPool

SAMPLES = 8
CALIBRATION = 64
# Run on both sides: all tensors of one file for one raw input, by the interpreter alone.
TENSORS = """
import importlib, sys
import numpy as np
module, model, inputs, out, delegate = sys.argv[1:]
runtime = importlib.import_module(module)
resolver = getattr(runtime.OpResolverType, delegate)
interpreter = runtime.Interpreter(
    model_path=model, experimental_preserve_all_tensors=True, experimental_op_resolver_type=resolver
)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(inputs))
interpreter.invoke()
kept, order = {}, []
for operator in interpreter._get_ops_details():
    order.append(f"{operator['op_name']}:{int(operator['outputs'][0])}")
    for index in operator["outputs"]:
        try:
            kept[str(int(index))] = interpreter.get_tensor(int(index))
        except ValueError:
            pass
np.savez(out, order=np.array(order), **kept)
"""


@dataclass
class Subject:
    """A Keras model with inputs to calibrate with and to compare on."""

    name: str
    model: Any
    inputs: np.ndarray[Any, Any]


def subjects(digits: Path, data: Path) -> Iterator[Subject]:
    """The models, each seeded."""
    keras = import_keras()
    layers = keras.layers
    random = np.random.default_rng(0)
    with np.load(data) as arrays:
        yield Subject("residual CNN (trained)", load_model(digits), arrays["x_val"][: CALIBRATION + SAMPLES])
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 6))
    x = layers.Conv1D(32, 5, activation="relu", padding="same")(inputs)
    x = layers.Conv1D(32, 5, strides=2, activation="relu", padding="same")(x)
    x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    yield Subject("Conv1D", keras.Model(inputs, x), random.normal(size=(CALIBRATION + SAMPLES, 64, 6)))
    inputs = keras.Input((16, 6))
    x = layers.Dense(10, activation="softmax")(layers.LSTM(16, unroll=True)(inputs))
    yield Subject("LSTM, unrolled", keras.Model(inputs, x), random.normal(size=(CALIBRATION + SAMPLES, 16, 6)))
    mobilenet = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)
    images = random.uniform(-1, 1, size=(CALIBRATION + SAMPLES, 96, 96, 3))
    _warm_batch_norm(mobilenet, images)
    yield Subject("MobileNetV2 0.35", mobilenet, images)


def _warm_batch_norm(model: Any, images: np.ndarray[Any, Any]) -> None:
    """Let statistics be those of the data: with those of an untrained model every output is the same."""
    for layer in model.layers:
        if hasattr(layer, "momentum"):
            layer.momentum = 0.5
    for _ in range(6):
        model(images[:CALIBRATION].astype(np.float32), training=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="a .md file; its rows are kept beside it in a .json, to go on from")
    parser.add_argument("--digits", type=Path, default=Path("demo/digits.keras"))
    parser.add_argument("--data", type=Path, default=Path("demo/digits.npz"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inventory = Inventory.load(folder / "devices.toml")
        machine = create("board", ImageRecipe(), home=folder / "machines", inventory=inventory)
        try:
            machine.start()
            with Device.open("board", inventory) as device, WorkerPool() as pool:
                Comparison(device, pool, options, folder).run()
        finally:
            destroy(machine, inventory)


class Comparison:
    """Rows of (model, format, runtime), int8 first, written as they come."""

    def __init__(self, device: Device, pool: WorkerPool, options: argparse.Namespace, folder: Path) -> None:
        self.device = device
        self.pool = pool
        self.options = options
        self.folder = folder
        self.kept = options.result.with_suffix(".json")
        self.rows: dict[str, list[str]] = json.loads(self.kept.read_text()) if self.kept.is_file() else {}
        self.explained: list[str] = self.rows.pop("explained", [])

    def run(self) -> None:
        made = list(subjects(self.options.digits, self.options.data))
        worst: tuple[int, str, Any, Any] | None = None
        for subject in made:
            for steps, title, model, runtime in self.compare(subject, "int8"):
                if worst is None or steps > worst[0]:
                    worst = (steps, title, (model, runtime), subject.inputs.astype(np.float32))
        if worst is not None:
            self.explained = explain(self.device, worst, self.folder)
            self.write()
        for name in FORMATS:
            for subject in made:
                list(self.compare(subject, name))

    def compare(self, subject: Subject, name: Format) -> Iterator[tuple[int, str, Any, Any]]:
        """Evaluate one file under every runtime; yields what is new: steps, title, model and runtime."""
        keys = {
            runtime: f"{subject.name} | {name} | {runtime.name} {runtime.version}" for runtime in self.device.runtimes
        }
        if all(key in self.rows for key in keys.values()):
            return
        inputs = subject.inputs.astype(np.float32)
        file = self.folder / f"{subject.name}-{name}.tflite".replace(" ", "-")
        try:
            model = convert_model(
                subject.model, file, ConversionOptions(format=name), (inputs[:CALIBRATION],), self.pool
            )
        except EdgepressError as error:
            for key in keys.values():
                self.rows[key] = [f"not converted: {str(error)[:120]}", "", "", ""]
            self.write()
            return
        goldens = make_goldens(subject.model, model, (inputs[CALIBRATION:],), self.pool)
        largest = float(np.abs(to_real(model, goldens.host_outputs)[0]).max())
        for runtime, key in keys.items():
            try:
                _, raw = evaluate(self.device, model, goldens.inputs, runtime=runtime)
            except EdgepressError as error:
                self.rows[key] = [str(error)[:120], "", "", ""]
                continue
            check = check_outputs(goldens, model, raw)
            difference = check.max_abs_error or 0.0
            steps = "" if check.max_lsb is None else str(check.max_lsb)
            self.rows[key] = [check.level.value, f"{difference:.2e}", f"{difference / largest:.1e}", steps]
            print(key, self.rows[key], flush=True)
            self.write()
            yield check.max_lsb or 0, f"{subject.name} under {runtime.name}", model, runtime

    def write(self) -> None:
        """Write what is known so far."""
        self.kept.write_text(json.dumps({**self.rows, "explained": self.explained}, indent=1) + "\n")
        facts = self.device.facts
        versions = ", ".join(
            f"{name} {metadata.version(name)}"
            for name in ("edgepress", "tensorflow", "keras", "ai-edge-litert", "numpy")
        )
        head = [
            "# Outputs of an emulated ARM board against this machine's",
            "",
            f"    python {' '.join(sys.argv)}",
            "",
            f"- host: {platform.machine()}, Python {platform.python_version()}, {versions}; it runs ai-edge-litert",
            f"- board: QEMU, CPU part {facts.cpu_parts[0]}, kernel {facts.kernel}, "
            f"{', '.join(f'{r.name} {r.version}' for r in self.device.runtimes)}",
            f"- {SAMPLES} inputs; steps are those of the output's own scale; levels are the output check's",
            "",
            "| model | format | board's runtime | level | largest difference | of the largest output | steps |",
            "|---|---|---|---|---|---|---|",
        ]
        rows = [f"| {key} | {' | '.join(self.rows[key])} |" for key in sorted(self.rows)]
        self.options.result.write_text("\n".join([*head, *rows, *self.explained]) + "\n")


def explain(device: Device, worst: tuple[int, str, Any, np.ndarray[Any, Any]], folder: Path) -> list[str]:
    """Where the int8 file that differs most begins to differ."""
    steps, title, (model, runtime), inputs = worst
    from edgepress.verification.reference import to_raw

    lines = ["", f"## The largest int8 difference: {steps} steps, {title}", ""]
    (raw,) = to_raw(model, (inputs[CALIBRATION : CALIBRATION + 1],))
    np.save(folder / "raw.npy", raw[:1])
    module = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
    board_files = {"tensors.py": TENSORS.encode(), "raw.npy": (folder / "raw.npy").read_bytes()}
    for name, data in {**board_files, "model.tflite": model.path.read_bytes()}.items():
        device.transport.put(data, name)
    for delegate in ("AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"):
        argv = [runtime.python, "tensors.py", module[runtime.name], "model.tflite", "raw.npy", "out.npz", delegate]
        done = device.transport.run(argv, timeout_s=300)
        if done.returncode != 0:
            lines += [f"{delegate}: {done.stderr.decode()[-300:]}"]
            continue
        import subprocess

        (folder / "tensors.py").write_text(TENSORS)
        subprocess.run(
            [
                *(sys.executable, folder / "tensors.py", "ai_edge_litert.interpreter", model.path),
                *(folder / "raw.npy", folder / "host.npz", delegate),
            ],
            check=True,
            capture_output=True,
        )
        (folder / "board.npz").write_bytes(device.transport.run(["cat", "out.npz"], timeout_s=300).stdout)
        lines += _compared(folder / "host.npz", folder / "board.npz", delegate)
    return lines


def _compared(host_file: Path, board_file: Path, delegate: str) -> list[str]:
    host, board = np.load(host_file), np.load(board_file)
    lines = [f"With {json.dumps(delegate)}, all tensors kept; operators whose outputs differ, as they run:", ""]
    lines += ["| # | operator | largest difference, steps | elements that differ |", "|---|---|---|---|"]
    differing = 0
    for number, entry in enumerate(host["order"]):
        operator, index = str(entry).split(":")
        if index not in host or index not in board or host[index].shape != board[index].shape:
            continue
        apart = np.abs(host[index].astype(np.float64) - board[index].astype(np.float64))
        if apart.max() > 0 and host[index].dtype.kind in "iu":
            differing += 1
            if differing <= 12 or number == len(host["order"]) - 1:
                share = f"{int((apart > 0).sum()):,} of {apart.size:,}"
                lines.append(f"| {number} | {operator} | {int(apart.max())} | {share} |")
    return [*lines, "", f"{differing} operators differ."]


if __name__ == "__main__":
    main()
