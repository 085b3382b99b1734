"""How near the peak activation memory of a report is to an interpreter's arena.

    python benchmarks/activation_memory.py [MODEL ...]

Models of keras.applications are converted to float32 and their tensors allocated by ai-edge-litert with its own kernels
(XNNPACK keeps its tensors elsewhere, where nobody can ask for them). The arena is what lies between the first and the
last byte of all tensors that are no constants, the kernels' scratch memory among them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULT = Path(__file__).parent / "results" / "activation_memory.md"
MODELS = ("MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121")
SIZE = (224, 224, 3)


def measure(name: str) -> tuple[int, int, int]:
    """Return the estimate, the arena and the scratch tensors in it, in bytes."""
    import keras

    from edgepress.compression.graph.liveness import peak_activation_bytes
    from edgepress.compression.graph.reader import read
    from edgepress.conversion import convert_model
    from edgepress_converters.options import ConversionOptions
    from edgepress_converters.pool import WorkerPool

    model = getattr(keras.applications, name)(weights=None, input_shape=SIZE)
    with WorkerPool() as pool, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        convert_model(model, file, ConversionOptions("float32"), None, pool)
        arena, scratch = arena_of(file.read_bytes())
    return peak_activation_bytes(read(model)), arena, scratch


def arena_of(content: bytes) -> tuple[int, int]:
    """Return the bytes of the arena, and those of tensors in it that are not the model's."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    tensors = file.subgraphs[0].tensors
    constant = {index for index, tensor in enumerate(tensors) if file.buffers[tensor.buffer].data is not None}
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    ends: list[tuple[int, int]] = []
    scratch = 0
    for details in interpreter.get_tensor_details():
        array = _memory(interpreter, details["index"])
        if details["index"] in constant or array is None:
            continue
        ends.append((array.ctypes.data, array.ctypes.data + array.nbytes))
        scratch += array.nbytes if details["index"] >= len(tensors) else 0
    return max(end for _, end in ends) - min(start for start, _ in ends), scratch


def _memory(interpreter: Any, index: int) -> Any:
    try:
        return interpreter.tensor(index)()
    except ValueError:  # it has none: the kernel did without
        return None


def main(names: tuple[str, ...]) -> None:
    text = [
        "# Peak activation memory: of the graph, and of an interpreter",
        "",
        "    python benchmarks/activation_memory.py",
        "",
        f"tensorflow {version('tensorflow')}, keras {version('keras')}, ai-edge-litert {version('ai-edge-litert')}; "
        f"float32, {' x '.join(map(str, SIZE))}, one sample, builtin kernels. "
        "Reports have the first number; scratch memory of kernels (the columns of a convolution) is not in it.",
        "",
        "| model | of the graph | arena | graph / arena | scratch tensors, bytes together |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in names:
        estimate, arena, scratch = measure(name)
        text.append(f"| {name} | {estimate:,} | {arena:,} | {estimate / arena:.2f} | {scratch:,} |")
        sys.stderr.write(f"{text[-1]}\n")
    RESULT.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="of keras.applications")
    main(tuple(parser.parse_args().models))
