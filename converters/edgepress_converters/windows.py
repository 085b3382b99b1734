"""Cutting a .tflite file: a window of its operators as a file of its own, which can be run and timed like any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgepress_converters.cost import operator_macs
from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.flatbuffer import IDENTIFIER, OPERATOR_NAMES, builtin_code, read_model, unpacked


@dataclass(frozen=True)
class Operator:
    """An operator of a file's main graph: its kind, the name of its first output, its multiply-accumulates."""

    index: int
    kind: str
    output: str
    macs: int


def list_operators(path: Path) -> tuple[Operator, ...]:
    """Return the operators of a file in the order in which they run.

    Raises:
        NotTFLiteError: it is none, is damaged, or has several graphs: their operators run as often as the data wants.
    """
    read_model(path)  # which refuses damaged files
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    if model.SubgraphsLength() != 1:
        raise NotTFLiteError(f"{path} has {model.SubgraphsLength()} graphs: which of its operators run is not known")
    graph = model.Subgraphs(0)
    found = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        number = builtin_code(code)
        name = (graph.Tensors(operator.Outputs(0)).Name() or b"").decode(errors="replace")
        kind = OPERATOR_NAMES.get(number, f"OPERATOR_{number}")
        found.append(Operator(index, kind, name, operator_macs(graph, operator, number)))
    return tuple(found)


def cut_window(path: Path, first: int, end: int, output: Path) -> None:
    """Write the operators ``first`` to ``end - 1`` of a file's main graph as a file.

    What they read from outside and is no constant becomes an input, what others read of theirs an output.

    Raises:
        NotTFLiteError: see :func:`list_operators`. OSError: the file cannot be written.
    """
    list_operators(path)
    model = unpacked(path.read_bytes())
    graph = model.subgraphs[0]
    inside = graph.operators[first:end]
    outside = graph.operators[:first] + graph.operators[end:]
    made = _tensors(inside, "outputs")
    used = _tensors(inside, "inputs")
    wanted = {*_tensors(outside, "inputs"), *map(int, graph.outputs)}
    graph.inputs = [i for i in used if i not in made and not _is_constant(model, graph.tensors[i])]
    graph.outputs = [i for i in made if i in wanted] or made
    graph.operators = inside
    codes = sorted({operator.opcodeIndex for operator in inside})  # a runtime refuses those it lacks, used or not
    model.operatorCodes = [model.operatorCodes[code] for code in codes]
    for operator in inside:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    touched = {graph.tensors[index].buffer for index in (*used, *made)}
    for index, buffer in enumerate(model.buffers):
        if index not in touched:
            buffer.data = None
    model.signatureDefs, model.metadata, model.metadataBuffer = [], [], []
    _write(model, output)


def write_idle_model(output: Path) -> None:
    """Write a model that adds two single numbers: what a call takes that has nothing to do."""
    tensors = [_scalar(name) for name in ("a", "b", "sum")]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1], [2]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0, 1], [2], [operator]
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = schema.BuiltinOperator.ADD, 0, 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    _write(model, output)


def _scalar(name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [1], schema.TensorType.FLOAT32, 0
    return tensor


def _tensors(operators: list[Any], field: str) -> list[int]:
    """Indices that operators read or write, each once, in order; -1 is an optional input that is left out."""
    indices = (
        int(i) for operator in operators if getattr(operator, field) is not None for i in getattr(operator, field)
    )
    return [i for i in dict.fromkeys(indices) if i >= 0]


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _write(model: Any, output: Path) -> None:
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    output.write_bytes(bytes(builder.Output()))
