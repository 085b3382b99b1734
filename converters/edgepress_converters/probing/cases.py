"""Makes the files by which runtimes are probed: every operator in some .tflite files, by itself."""

from __future__ import annotations

import base64
import json
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.flatbuffer import IDENTIFIER, OPERATOR_NAMES, read_model, read_signatures
from edgepress_converters.probing.probe import run_in_processes
from edgepress_converters.windows import cut_window

LARGEST_FILE_BYTES = 10_000
LEVELS = 16  # of inputs, whose entropy is the size of the archive


def make_cases(files: Iterable[Path], python: str, output: Path) -> int:
    """Cut operators out of .tflite files, one of each signature, and write them as an archive with right answers.

    Args:
        python: whose runtime gives the answers. What it refuses itself has none.

    Returns:
        the number of cases.
    """
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        signatures: list[str] = []
        for file in files:
            for index, signature in enumerate(read_signatures(file)):
                if signature in signatures:
                    continue
                case = folder / f"{len(signatures)}.tflite"
                try:
                    cut_window(file, index, index + 1, case)
                except NotTFLiteError:  # it has loops, whose bodies are graphs of their own
                    break
                model = read_model(case)
                if model.size_bytes > LARGEST_FILE_BYTES:
                    case.unlink()
                    continue
                inputs = [_random_input(spec, random) for spec in sorted(model.inputs, key=lambda spec: spec.position)]
                np.savez(case.with_suffix(".npz"), *inputs)
                signatures.append(signature)
        for number, outcome in run_in_processes(python, folder, "expected", in_parts=True).items():
            if outcome != "ran":  # perhaps of negative numbers only, as a root
                _make_positive(folder / f"{number}.npz")
        for number, outcome in run_in_processes(python, folder, "expected", in_parts=True).items():
            if outcome == "ran":
                _shorten(folder / f"{number}.expected.npz")
        content = {"signatures": signatures, "template": _template(), "operators": _operators()}
        (folder / "cases.json").write_text(json.dumps(content))
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                # With the same time in each, equal cases are equal archives.
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return len(signatures)


def _random_input(spec: Any, random: np.random.Generator) -> np.ndarray[Any, Any]:
    shape = (1, *spec.shape)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    kind = np.dtype(spec.dtype)
    if kind.kind == "f":
        return ((random.integers(0, LEVELS, shape) + 0.5) / LEVELS * 2 - 1).astype(kind)
    if spec.scale is None and spec.dtype != "uint8":
        return random.integers(0, 2, shape).astype(kind)  # may be indices
    limits = np.iinfo(kind)
    step = (int(limits.max) - int(limits.min) + 1) // (2 * LEVELS)
    return (random.integers(0, LEVELS, shape) * step + int(limits.min) // 2).astype(kind)


def _make_positive(path: Path) -> None:
    """Of quantized numbers the upper half, where mostly those above the zero point are."""
    with np.load(path) as file:
        arrays = [file[name] for name in file.files]
    np.savez(path, *[np.abs(array) if array.dtype.kind in "fi" else array for array in arrays])


def _shorten(path: Path) -> None:
    """Keep floats as float16: what they are compared by is coarser."""
    with np.load(path) as file:
        arrays = [file[name] for name in file.files]
    np.savez(path, *[array.astype(np.float16) if array.dtype.kind == "f" else array for array in arrays])


def _operators() -> dict[str, int]:
    return {name: code for code, name in sorted(OPERATOR_NAMES.items()) if name not in ("CUSTOM", "DELEGATE")}


def _template() -> dict[str, Any]:
    """Return a model that names an operator and uses none, and where in it code and version stand."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = 0x0A0B0C0D, 0x71, 0x01020304
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = b"x", [1], schema.TensorType.FLOAT32, 0
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    content = bytes(builder.Output())
    places = {
        "code": content.index((0x0A0B0C0D).to_bytes(4, "little")),
        "version": content.index((0x01020304).to_bytes(4, "little")),
    }
    read = schema.Model.GetRootAs(content, 0).OperatorCodes(0)._tab
    return {
        "model": base64.b64encode(content).decode(),
        **places,
        "old_code": read.Pos + read.Offset(4),
    }
