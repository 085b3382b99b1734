"""What a .tflite file asks of a board: multiplications, and constants to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgepress_converters.flatbuffer import builtin_code, read_model

_INTEGERS = frozenset({schema.TensorType.INT8, schema.TensorType.UINT8})


@dataclass(frozen=True)
class FileCost:
    """Of one inference of the main graph.

    Attributes:
        macs: multiply-accumulates of convolutions and matrix products; other operators count as nothing, so that it is
            a lower bound of the work.
        constant_bytes: of all constants that operators read.
        is_integer: convolutions and matrix products take int8 inputs and weights.
    """

    macs: int
    constant_bytes: int
    is_integer: bool


def file_cost(path: Path) -> FileCost:
    """Read what a file costs.

    Raises:
        NotTFLiteError: it is none, or it is damaged.
        OSError: it cannot be read.
    """
    read = read_model(path)  # which refuses damaged files
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    macs, integer = 0, True
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        count = operator_macs(graph, operator, builtin_code(code))
        if count:
            macs += count
            integer = integer and _type(graph, operator.Inputs(0)) in _INTEGERS
    constants = sum(operator.constant_bytes for operator in read.operators)
    return FileCost(macs, constants, integer and macs > 0)


def operator_macs(graph: Any, operator: Any, code: int) -> int:
    """Return the multiply-accumulates of one operator; 0 for kinds that have none or are not known."""
    kinds = schema.BuiltinOperator
    if code == kinds.CONV_2D:
        return math.prod(_shape(graph, operator.Outputs(0))) * math.prod(_shape(graph, operator.Inputs(1))[1:])
    if code == kinds.DEPTHWISE_CONV_2D:
        return math.prod(_shape(graph, operator.Outputs(0))) * math.prod(_shape(graph, operator.Inputs(1))[1:3])
    if code == kinds.FULLY_CONNECTED:
        return math.prod(_shape(graph, operator.Outputs(0))) * _last(_shape(graph, operator.Inputs(1)))
    if code == kinds.TRANSPOSE_CONV:  # inputs: output shape, filter, activations
        return math.prod(_shape(graph, operator.Inputs(2))) * math.prod(_shape(graph, operator.Inputs(1))[:3])
    if code == kinds.BATCH_MATMUL:
        return math.prod(_shape(graph, operator.Outputs(0))) * _last(_shape(graph, operator.Inputs(0)))
    return 0


def _shape(graph: Any, tensor: int) -> list[int]:
    return [int(graph.Tensors(tensor).Shape(axis)) for axis in range(graph.Tensors(tensor).ShapeLength())]


def _last(shape: list[int]) -> int:
    return shape[-1] if shape else 1


def _type(graph: Any, tensor: int) -> int:
    return int(graph.Tensors(tensor).Type())
