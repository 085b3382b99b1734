"""What a .tflite file says about itself, read from the flatbuffer without loading the model anywhere.

The file is untrusted: it may be truncated or damaged. A reader that follows every offset of a damaged file can take
forever, because nothing stops tables from being shared; so all elements that are visited are counted, and a file has no
more elements than bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgepress_converters.errors import NotTFLiteError
from edgepress_converters.model import FloatOperator, OperatorUse, TensorSpec, TFLiteModel
from edgepress_converters.signature import model_order

IDENTIFIER = b"TFL3"
SMALLEST_FILE_BYTES = 16  # root offset, identifier, and a table that is empty

OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_TYPE_NAMES = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
_NO_NUMBERS = frozenset({"STRING", "RESOURCE", "VARIANT"})
_FLOAT_TYPES = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})
_CUSTOM = "CUSTOM"
_BORDER_OPERATORS = frozenset({"QUANTIZE", "DEQUANTIZE"})


def read_model(path: Path) -> TFLiteModel:
    """Read a .tflite file.

    Raises:
        NotTFLiteError: it is none, or it is truncated or damaged.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    if len(content) < SMALLEST_FILE_BYTES or content[4:8] != IDENTIFIER:
        what = f"{len(content)} bytes" if len(content) < SMALLEST_FILE_BYTES else f"the identifier {content[4:8]!r}"
        raise NotTFLiteError(
            f"{path} is no TFLite file: it has {what}, where a TFLite file has {IDENTIFIER!r} at byte 4"
        )
    try:
        model = _Reader(content).read(path)
    except NotTFLiteError as error:
        raise NotTFLiteError(f"{path} is a truncated or damaged TFLite file: {error}") from None
    except (struct.error, IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        # What the generated accessors raise, or what their results lead to, when an offset points nowhere.
        raise NotTFLiteError(
            f"{path} is a truncated or damaged TFLite file ({type(error).__name__}: {error})"
        ) from None
    return model


def read_signatures(path: Path) -> list[str]:
    """Return the signature of each operator of a valid file's main graph (:attr:`TFLiteModel.signatures`), in order."""
    graph = _Reader(path.read_bytes()).subgraphs()[0]
    return [_signature(graph, operator) for operator in graph.operators]


def builtin_code(code: Any) -> int:
    """Return the number of an operator's kind, from a valid ``schema.OperatorCode``."""
    # Files older than 2020 have the second field only; later ones have both, the second capped at 127.
    return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))


def unpacked(content: bytes) -> Any:
    """Return a valid file as objects (``schema.ModelT``), with all that stands behind the flatbuffer taken into it.

    ai-edge-quantizer keeps large constants there, and so do files over 2 GB: an object then has an offset and a size in
    place of data, and written anew it would have neither.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))

    def behind(offset: int, size: int) -> NDArray[np.uint8]:
        return np.frombuffer(content, np.uint8, size, offset)

    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 are the schema's words for "not set"
            buffer.data = behind(buffer.offset, buffer.size)
            buffer.offset = buffer.size = 0
    for operator in (operator for subgraph in model.subgraphs for operator in subgraph.operators or ()):
        if operator.largeCustomOptionsOffset > 1:
            operator.customOptions = behind(operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return model


@dataclasses.dataclass(frozen=True)
class _Tensor:
    name: str
    type: str
    shape: tuple[int, ...]
    buffer: int
    scale: float | None
    zero_point: int | None
    by_channel: bool


@dataclasses.dataclass(frozen=True)
class _Operator:
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Subgraph:
    tensors: tuple[_Tensor, ...]
    operators: tuple[_Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Reader:
    """One pass over one file."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._elements_left = len(content)
        self._model = schema.Model.GetRootAs(content, 0)

    def subgraphs(self) -> list[_Subgraph]:
        codes = [self._operator_code(code) for code in self._elements(self._model, "OperatorCodes")]
        subgraphs = [self._subgraph(subgraph, codes) for subgraph in self._elements(self._model, "Subgraphs")]
        if not subgraphs:
            raise NotTFLiteError("it has no graph")
        return subgraphs

    def read(self, path: Path) -> TFLiteModel:
        subgraphs = self.subgraphs()
        main = subgraphs[0]
        inputs, outputs = self._signature_names(main)
        return TFLiteModel(
            path=path,
            sha256=hashlib.sha256(self._content).hexdigest(),
            size_bytes=len(self._content),
            inputs=_specs(main, main.inputs, inputs),
            outputs=_specs(main, main.outputs, outputs),
            operators=_operator_uses(subgraphs, self._buffer_sizes()),
            signatures=tuple(
                sorted({_signature(subgraph, operator) for subgraph in subgraphs for operator in subgraph.operators})
            ),
            tensor_types=tuple(sorted(Counter(t.type for subgraph in subgraphs for t in subgraph.tensors).items())),
            float_operators=tuple(found for subgraph in subgraphs for found in _float_operators(subgraph)),
        )

    def _count(self, elements: int) -> int:
        self._elements_left -= elements
        if elements < 0 or self._elements_left < 0:
            raise NotTFLiteError("its tables refer to more elements than the file can hold")
        return elements

    def _elements(self, table: Any, field: str) -> Iterator[Any]:
        element = getattr(table, field)
        for index in range(self._count(getattr(table, f"{field}Length")())):
            yield element(index)

    def _integers(self, table: Any, field: str) -> tuple[int, ...]:
        self._count(getattr(table, f"{field}Length")())
        values = getattr(table, f"{field}AsNumpy")()
        return () if isinstance(values, int) else tuple(int(value) for value in values)  # 0: there is no such vector

    def _text(self, value: bytes | None) -> str:
        self._count(len(value or b""))
        return (value or b"").decode(errors="replace")

    def _operator_code(self, code: Any) -> tuple[str, int]:
        number = builtin_code(code)
        name = OPERATOR_NAMES.get(number, f"OPERATOR_{number}")
        if name == _CUSTOM:
            name = f"{_CUSTOM}:{self._text(code.CustomCode())}"
        return name, int(code.Version())

    def _subgraph(self, subgraph: Any, codes: list[tuple[str, int]]) -> _Subgraph:
        tensors = tuple(self._tensor(tensor) for tensor in self._elements(subgraph, "Tensors"))
        operators = tuple(self._operator(operator, codes) for operator in self._elements(subgraph, "Operators"))
        inputs, outputs = self._integers(subgraph, "Inputs"), self._integers(subgraph, "Outputs")
        for index in (*inputs, *outputs, *(i for operator in operators for i in (*operator.inputs, *operator.outputs))):
            if not -1 <= index < len(tensors):  # -1: an optional input that is left out
                raise NotTFLiteError(f"it refers to tensor {index} of {len(tensors)}")
        return _Subgraph(tensors, operators, inputs, outputs)

    def _tensor(self, tensor: Any) -> _Tensor:
        number = tensor.Type()
        scale, zero_point = None, None
        quantization = tensor.Quantization()
        if quantization is not None and quantization.ScaleLength() == 1:
            scale = float(quantization.Scale(0))
            if not math.isfinite(scale):
                raise NotTFLiteError(f"a tensor has the scale {scale}")
            zero_point = int(quantization.ZeroPoint(0)) if quantization.ZeroPointLength() else 0
        return _Tensor(
            name=self._text(tensor.Name()),
            type=_TYPE_NAMES.get(number, f"TYPE_{number}"),
            shape=self._integers(tensor, "Shape"),
            buffer=int(tensor.Buffer()),
            scale=scale,
            zero_point=zero_point,
            by_channel=quantization is not None and quantization.ScaleLength() > 1,
        )

    def _operator(self, operator: Any, codes: list[tuple[str, int]]) -> _Operator:
        index = operator.OpcodeIndex()
        if not 0 <= index < len(codes):
            raise NotTFLiteError(f"it refers to operator code {index} of {len(codes)}")
        name, version = codes[index]
        return _Operator(name, version, self._integers(operator, "Inputs"), self._integers(operator, "Outputs"))

    def _signature_names(self, main: _Subgraph) -> tuple[dict[int, str], dict[int, str]]:
        """Return names of input and output tensors by tensor index, of the first signature of the main graph."""
        for signature in self._elements(self._model, "SignatureDefs"):
            if signature.SubgraphIndex() == 0:
                inputs = self._tensor_names(signature, "Inputs")
                outputs = self._tensor_names(signature, "Outputs")
                if set(inputs) == set(main.inputs) and set(outputs) == set(main.outputs):
                    return inputs, outputs
        return {}, {}

    def _tensor_names(self, signature: Any, field: str) -> dict[int, str]:
        return {int(entry.TensorIndex()): self._text(entry.Name()) for entry in self._elements(signature, field)}

    def _buffer_sizes(self) -> list[int]:
        sizes = []
        for buffer in self._elements(self._model, "Buffers"):
            data = buffer.DataAsNumpy()
            behind = int(buffer.Offset()) if buffer.Offset() > 1 else 0  # see unpacked()
            size = int(buffer.Size()) if behind else len(data) if not isinstance(data, int) else 0
            if behind + size > len(self._content):
                raise NotTFLiteError(f"it claims a constant of {size} bytes in a file of {len(self._content)}")
            sizes.append(size)
        return sizes


def _specs(graph: _Subgraph, tensors: tuple[int, ...], names: dict[int, str]) -> tuple[TensorSpec, ...]:
    specs = []
    for position, index in enumerate(tensors):
        if index < 0:
            raise NotTFLiteError("an input or output of its graph is left out")
        tensor = graph.tensors[index]
        specs.append(
            TensorSpec(
                name=names.get(index, tensor.name),
                position=position,
                dtype="object" if tensor.type in _NO_NUMBERS else tensor.type.lower(),
                shape=tensor.shape,
                scale=tensor.scale,
                zero_point=tensor.zero_point,
            )
        )
    return tuple(specs[index] for index in model_order([spec.name for spec in specs]))


def _operator_uses(subgraphs: list[_Subgraph], buffer_sizes: list[int]) -> tuple[OperatorUse, ...]:
    counts: Counter[tuple[str, int]] = Counter()
    constant_bytes: Counter[tuple[str, int]] = Counter()
    counted: set[int] = set()
    for subgraph in subgraphs:
        for operator in subgraph.operators:
            kind = operator.name, operator.version
            counts[kind] += 1
            for index in operator.inputs:
                buffer = subgraph.tensors[index].buffer if index >= 0 else 0
                if buffer not in counted:
                    counted.add(buffer)
                    constant_bytes[kind] += buffer_sizes[buffer]
    return tuple(OperatorUse(*kind, count, constant_bytes[kind]) for kind, count in sorted(counts.items()))


def _signature(graph: _Subgraph, operator: _Operator) -> str:
    """Return an operator with its version and the types that it reads and writes, each once."""

    def types(indices: tuple[int, ...]) -> str:
        tensors = [graph.tensors[index] for index in indices if index >= 0]
        return " ".join(dict.fromkeys(f"{t.type}/channel" if t.by_channel else t.type for t in tensors))

    return f"{operator.name} {operator.version}: {types(operator.inputs)} -> {types(operator.outputs)}"


def _float_operators(graph: _Subgraph) -> Iterator[FloatOperator]:
    """Yield the operators that touch float tensors. QUANTIZE and DEQUANTIZE count only where they have a float tensor
    inside the graph to themselves."""
    borders = {*graph.inputs, *graph.outputs}
    written = {index for operator in graph.operators for index in operator.outputs}
    touched = [
        {i for i in (*operator.inputs, *operator.outputs) if i >= 0 and graph.tensors[i].type in _FLOAT_TYPES}
        for operator in graph.operators
    ]
    computing = {
        index
        for operator, tensors in zip(graph.operators, touched, strict=True)
        if operator.name not in _BORDER_OPERATORS
        for index in tensors
    }
    for operator, tensors in zip(graph.operators, touched, strict=True):
        if tensors - (borders | computing if operator.name in _BORDER_OPERATORS else set()):
            constants = [i for i in operator.inputs if i >= 0 and i not in written and i not in borders]
            yield FloatOperator(operator.name, tuple(graph.tensors[i].name for i in (*operator.outputs, *constants)))
