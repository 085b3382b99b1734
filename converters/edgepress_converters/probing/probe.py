"""Asks the TFLite runtime beside this Python what it takes. Stands alone: Python 3.9, numpy, a runtime.

::

    python probe.py all CASES.zip                  what the runtime takes, as a line of JSON (see runtimes.py)
    python probe.py files FOLDER FIRST SUFFIX      runs <number>.tflite on <number>.npz from FIRST on, into
                                                   <number>.SUFFIX.npz; a line of JSON before and after each
    python probe.py parts FOLDER FIRST SUFFIX      the same for operators cut out of files: one that XNNPACK refuses
                                                   by itself may be computed without

Inputs are as the interpreter orders them, each ``(n, ...)``. A file may kill the runtime: ``all`` runs ``files`` in
processes that are started again behind it.
"""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RUNTIMES = {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
HIGHEST_VERSION = 20  # of an operator that is asked for
STEPS = 2  # of integers, by which kernels may round otherwise
SHARE = 0.02  # of the range of float outputs: kernels that quantize activations as they go do so in several ways


def main() -> None:
    """See the module."""
    if sys.argv[1] in ("files", "parts"):
        run_files(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], in_parts=sys.argv[1] == "parts")
    else:
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(sys.argv[2]) as archive:
                archive.extractall(folder)
            say(ask_everything(Path(folder)))


def installed() -> str:
    """Return the name of the runtime beside this Python."""
    for name in RUNTIMES:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return name
    raise SystemExit("no TFLite runtime beside " + sys.executable)


def runtime() -> Any:
    """Return the runtime's module."""
    return importlib.import_module(RUNTIMES[installed()])


def ask_everything(folder: Path) -> dict[str, Any]:
    """Return what the runtime takes: versions of operators, and which of the probed uses it refuses or gets wrong."""
    cases = json.loads((folder / "cases.json").read_text())
    outcomes = run_in_processes(sys.executable, folder, "answer", in_parts=True)
    taken, failed = set(), set()
    refused = {}
    for number, signature in enumerate(cases["signatures"]):
        outcome = outcomes[number]
        expected = folder / f"{number}.expected.npz"
        if outcome == "ran" and expected.exists() and not agrees(folder / f"{number}.answer.npz", expected):
            outcome = "answers wrongly"
        if outcome == "ran":
            taken.update(types_of(signature))
        else:
            failed.update(types_of(signature))
            refused[signature] = outcome
    return {
        "runtime": installed(),
        "version": metadata.version(installed()),
        "operators": versions(cases["template"], cases["operators"]),
        "types": sorted(taken - failed),
        "refused": refused,
    }


def types_of(signature: str) -> list[str]:
    """Return the tensor types in a signature: ``ADD 2: INT8 -> INT8``."""
    return [word.split("/")[0] for word in signature.split(": ", 1)[1].split() if word != "->"]


def versions(template: dict[str, Any], operators: dict[str, int]) -> dict[str, Any]:
    """Return the lowest and highest version of each operator, by loading a model that lists it without using it."""
    make = runtime().Interpreter
    content = bytearray(base64.b64decode(template["model"]))
    found: dict[str, Any] = {}
    for name, code in operators.items():
        content[template["old_code"]] = min(code, 127)
        content[template["code"] : template["code"] + 4] = code.to_bytes(4, "little")
        taken = []
        for version in range(1, HIGHEST_VERSION + 1):
            content[template["version"] : template["version"] + 4] = version.to_bytes(4, "little")
            try:
                make(model_content=bytes(content))
            except (ValueError, RuntimeError):
                continue
            taken.append(version)
        found[name] = [min(taken), max(taken)] if taken else None
    return found


def agrees(answer: Path, expected: Path) -> bool:
    """Whether outputs are those of the runtime that made the cases."""
    with np.load(answer) as got, np.load(expected) as wanted:
        if got.files != wanted.files:
            return False
        return all(close(got[name], wanted[name]) for name in wanted.files)


def close(got: Any, wanted: Any) -> bool:
    """Whether an output is the expected one within what rounding explains."""
    kind = wanted.dtype.kind
    if got.shape != wanted.shape or got.dtype.kind != kind:
        return False
    if kind not in "fiu":
        return bool((got == wanted).all())
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(wanted)
    if not (np.isfinite(got) == finite).all():
        return False
    if not finite.any():
        return True
    got, wanted = got[finite], wanted[finite]
    allowed = SHARE * float(np.ptp(wanted)) + 1e-3 if kind == "f" else STEPS
    return bool(np.abs(got - wanted).max() <= allowed)


def run_in_processes(python: str, folder: Path, suffix: str, in_parts: bool = False) -> dict[int, str]:
    """Run the files of a folder in the runtime beside a Python. By number: "ran", what it said, or how it died."""
    what = "parts" if in_parts else "files"
    outcomes: dict[int, str] = {}
    first = 0
    while True:
        command = [python, __file__, what, str(folder), str(first), suffix]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)  # noqa: S603, UP022 - a Python
        begun = None
        for line in map(json.loads, ended.stdout.decode().splitlines()):
            begun = line["case"]
            if "outcome" in line:
                outcomes[begun], begun = line["outcome"], None
        if begun is None:
            if ended.returncode:
                raise RuntimeError(python + " cannot run files: " + ended.stderr.decode()[-500:])
            return outcomes
        outcomes[begun] = f"died with {ended.returncode}"
        first = begun + 1


def run_files(folder: Path, first: int, suffix: str, in_parts: bool) -> None:
    """Run the files from a number on."""
    numbers = sorted(int(path.stem) for path in folder.glob("*.tflite"))
    for number in (number for number in numbers if number >= first):
        say({"case": number})
        try:
            outputs = run(folder / f"{number}.tflite", folder / f"{number}.npz", in_parts)
        except (ValueError, RuntimeError) as error:  # what the interpreters raise for files that they refuse
            say({"case": number, "outcome": " ".join(str(error).split())[:200]})
        else:
            np.savez(folder / f"{number}.{suffix}.npz", *outputs)
            say({"case": number, "outcome": "ran"})


def run(model: Path, inputs: Path, in_parts: bool) -> list[Any]:
    """Return the outputs of a file, each ``(n, ...)``."""
    module = runtime()
    try:
        return answers_of(module.Interpreter(model_path=str(model)), inputs)
    except (ValueError, RuntimeError):
        if not in_parts:
            raise
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return answers_of(module.Interpreter(model_path=str(model), experimental_op_resolver_type=plain), inputs)


def answers_of(interpreter: Any, inputs: Path) -> list[Any]:
    """Return what an interpreter answers, each output ``(n, ...)``; without inputs, once."""
    interpreter.allocate_tensors()
    sources = [detail["index"] for detail in interpreter.get_input_details()]
    sinks = [detail["index"] for detail in interpreter.get_output_details()]
    with np.load(inputs) as file:
        arrays = [file[f"arr_{position}"] for position in range(len(sources))]
    answers = []
    for sample in range(len(arrays[0]) if arrays else 1):
        for source, array in zip(sources, arrays):  # noqa: B905
            interpreter.set_tensor(source, array[sample])
        interpreter.invoke()
        answers.append([np.array(interpreter.get_tensor(sink)) for sink in sinks])
    return [np.stack(each) for each in zip(*answers)]  # noqa: B905


def say(line: Any) -> None:
    """Print a line of JSON at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
