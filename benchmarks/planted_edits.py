"""The faults of planted_answers.py: in .tflite files that every runtime still loads, or in what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress.conversion import inspect
from edgepress.verification.goldens import Goldens
from edgepress_converters.model import TFLiteModel

Array = np.ndarray[Any, Any]

_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Layer:
    """An operator with weights: its tensors, and the axis of its output channels."""

    weights: Any
    bias: Any | None
    axis: int


class Editor:
    """A file taken apart."""

    def __init__(self, model: TFLiteModel) -> None:
        self.source = model
        self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model.path.read_bytes(), 0))
        self._graph = self._model.subgraphs[0]

    def layers(self) -> list[Layer]:
        """Operators with constant weights, in the order in which they run."""
        return list(self._layers())

    def values(self, tensor: Any) -> Array:
        """A constant's numbers."""
        data = np.asarray(self._model.buffers[tensor.buffer].data, np.uint8)
        return data.view(_DTYPES[tensor.type]).reshape(tensor.shape).copy()

    def put(self, tensor: Any, values: Array) -> None:
        """Replace a constant's numbers."""
        self._model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    def save(self, path: Path) -> TFLiteModel:
        """Put the file together again."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return inspect(path)

    def _layers(self) -> Iterator[Layer]:
        made_by = {int(op.outputs[0]): op for op in self._graph.operators}
        for operator in self._graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            name = _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name not in _WEIGHTED:
                continue
            weights, *bias = (self._constant(int(index), made_by) for index in operator.inputs[1:3])
            if weights is not None:
                yield Layer(weights, bias[0] if bias else None, 3 if name == "DEPTHWISE_CONV_2D" else 0)

    def _constant(self, index: int, made_by: dict[int, Any]) -> Any | None:
        """The tensor, or what a DEQUANTIZE makes it of (float16 weights); None where it is computed."""
        if index < 0:
            return None
        if index in made_by:
            operator = made_by[index]
            code = self._model.operatorCodes[operator.opcodeIndex]
            if code.builtinCode != schema.BuiltinOperator.DEQUANTIZE:
                return None
            index = int(operator.inputs[0])
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        return tensor if data is not None and len(data) else None


def has_scale(tensor: Any) -> bool:
    """Whether a tensor is quantized."""
    return (
        tensor.quantization is not None and tensor.quantization.scale is not None and len(tensor.quantization.scale) > 0
    )


def four_bits(model: TFLiteModel, path: Path) -> TFLiteModel:
    """Round int8 weights of convolutions and dense layers to four bits, two in a byte."""
    editor = Editor(model)
    for layer in editor.layers():
        tensor = layer.weights
        if tensor.type != schema.TensorType.INT8 or layer.axis == 3:
            continue
        values = np.clip(np.rint(editor.values(tensor).astype(np.float64) * 7 / 127), -7, 7).astype(np.int8).ravel()
        values = np.append(values, np.zeros(values.size % 2, np.int8))
        editor.put(tensor, ((values[0::2] & 15) | ((values[1::2] & 15) << 4)).astype(np.uint8))
        tensor.type = schema.TensorType.INT4
        tensor.quantization.scale = np.asarray(tensor.quantization.scale, np.float32) * np.float32(127 / 7)
    return editor.save(path)


def swap_channels(model: TFLiteModel, path: Path, number: int, first: int, second: int) -> TFLiteModel:
    """Exchange two output channels of a layer (counted from the end when negative)."""
    editor = Editor(model)
    layer = editor.layers()[number]
    for tensor, axis in ((layer.weights, layer.axis), (layer.bias, 0)):
        if tensor is None:
            continue
        values = np.moveaxis(editor.values(tensor), axis, 0)
        values[[first, second]] = values[[second, first]]
        editor.put(tensor, np.ascontiguousarray(np.moveaxis(values, 0, axis)))
        quantization = tensor.quantization
        if quantization is not None and quantization.scale is not None and len(quantization.scale) > 1:
            scales = quantization.scale.copy()
            scales[[first, second]] = scales[[second, first]]
            quantization.scale = scales
    return editor.save(path)


def stale_weight_scale(model: TFLiteModel, path: Path, number: int, factor: float) -> TFLiteModel:
    """Give a layer's weights the scale of another quantization; the bias follows, as kernels demand."""
    editor = Editor(model)
    layer = editor.layers()[number]
    layer.weights.quantization.scale = np.asarray(layer.weights.quantization.scale, np.float32) * np.float32(factor)
    if layer.bias is not None and layer.bias.quantization is not None and layer.bias.quantization.scale is not None:
        layer.bias.quantization.scale = np.asarray(layer.bias.quantization.scale, np.float32) * np.float32(factor)
        editor.put(layer.bias, (editor.values(layer.bias) / factor).astype(editor.values(layer.bias).dtype))
    return editor.save(path)


def damage_weights(model: TFLiteModel, path: Path, number: int, share: float, seed: int) -> TFLiteModel:
    """Replace a share of a layer's weights by others of its own."""
    editor = Editor(model)
    tensor = editor.layers()[number].weights
    values, random = editor.values(tensor), np.random.default_rng(seed)
    flat = values.reshape(-1)
    chosen = random.choice(flat.size, max(1, round(share * flat.size)), replace=False)
    flat[chosen] = random.choice(flat, chosen.size)
    editor.put(tensor, values)
    return editor.save(path)


@dataclass(frozen=True)
class Case:
    """A file with goldens."""

    name: str
    kind: str
    model: TFLiteModel
    goldens: Goldens

    @property
    def key(self) -> str:
        return f"{self.name} | {self.kind}"


@dataclass(frozen=True)
class Fault:
    """What is planted: a file, or the right file with goldens whose inputs are wrong."""

    kind: str
    what: str
    plant: Callable[[Case, Path], Case]


def faults(case: Case) -> Iterator[Fault]:
    """All that is planted in a file, from mild to gross."""

    def in_file(edit: Callable[..., TFLiteModel], *arguments: Any) -> Callable[[Case, Path], Case]:
        return lambda case, path: replace(case, model=edit(case.model, path, *arguments))

    def in_inputs(change: Callable[[Array], Array]) -> Callable[[Case, Path], Case]:
        def plant(case: Case, _: Path) -> Case:
            inputs = tuple(change(array).astype(array.dtype) for array in case.goldens.inputs)
            return replace(case, goldens=replace(case.goldens, inputs=inputs))

        return plant

    layers = Editor(case.model).layers()
    random = np.random.default_rng(len(case.key))
    for number in sorted({0, len(layers) // 2, len(layers) - 1}):
        layer = layers[number]
        channels = layer.weights.shape[layer.axis]
        for _ in range(3 if channels > 1 else 0):
            first, second = (int(one) for one in random.choice(channels, 2, replace=False))
            what = f"layer {number}, {first} and {second}"
            yield Fault("swapped channels", what, in_file(swap_channels, number, first, second))
        if has_scale(layer.weights):
            for factor in (0.95, 1.05, 0.9, 1.1, 0.8, 1.25, 0.5, 2.0):
                what = f"weights of layer {number}, times {factor}"
                yield Fault("stale scale", what, in_file(stale_weight_scale, number, factor))
        for share in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
            what = f"{share:.1%} of layer {number}"
            yield Fault("damaged weights", what, in_file(damage_weights, number, share, number))
    for scale, mean in ((1.02, 0.0), (0.95, 0.0), (1.0, 0.05), (1.0, -0.1), (1.25, 0.0), (2.0, -1.0), (255.0, 0.0)):
        yield Fault(
            "input spec",
            f"x * {scale:g} + {mean:g}",
            in_inputs(_prepared(scale, mean)),
        )
    yield Fault("axes", "height and width exchanged", in_inputs(lambda x: np.swapaxes(x, 1, 2)))
    if case.goldens.inputs[0].shape[-1] == 3:
        yield Fault("axes", "NCHW for NHWC", in_inputs(lambda x: np.moveaxis(x, -1, 1).reshape(x.shape)))


def _prepared(scale: float, mean: float) -> Callable[[Array], Array]:
    return lambda x: x * scale + mean
