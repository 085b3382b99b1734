"""What a .tflite file says about itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a TFLite model.

    Attributes:
        name: the name in the model's signature where it has one, else the tensor's.
        position: where it stands among the interpreter's ``get_input_details()`` / ``get_output_details()``.
        dtype: numpy name, e.g. ``int8``; ``object`` for strings and resources.
        shape: with the batch (1).
        scale, zero_point: of a quantized tensor, per tensor; None for others.
    """

    name: str
    position: int
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class OperatorUse:
    """One kind of operator in a model: its TFLite name and version, how often it occurs, and the bytes of the
    constants that it reads (a constant read by several is counted with the first)."""

    name: str
    version: int
    count: int
    constant_bytes: int


@dataclass(frozen=True)
class FloatOperator:
    """An operator that reads or writes float tensors.

    Attributes:
        kind: its TFLite name.
        tensors: names of what it writes and of the constants that it reads; they have names of Keras layers in them.
    """

    kind: str
    tensors: tuple[str, ...]

    def is_of(self, layer: str) -> bool:
        """Whether it comes from the Keras layer of that name. Exporting adds a number to names (``dense`` becomes
        ``dense_1``), so that a layer called like another one with a number is taken for it as well."""
        of_layer = re.compile(rf"{re.escape(layer)}(_\d+)?")
        return any(of_layer.fullmatch(part) for tensor in self.tensors for part in re.split("[/;]", tensor))


@dataclass(frozen=True)
class TFLiteModel:
    """A TFLite file, with its inputs and outputs in the order of the Keras model it came from (by signature name).

    Attributes:
        tensor_types: how many tensors have each TFLite type, e.g. ``{"INT8": 22, "INT32": 10}``.
        float_operators: each operator that reads or writes a float tensor, but for QUANTIZE and DEQUANTIZE that bring
            integers to such an operator or to the borders of the graph. Empty in a full integer model.
        signatures: the kinds of operators by what they compute with: ``CONV_2D 3: INT8 INT8/channel INT32/channel ->
            INT8`` reads weights with a scale for each channel.
    """

    path: Path
    sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[OperatorUse, ...]
    tensor_types: tuple[tuple[str, int], ...]
    float_operators: tuple[FloatOperator, ...]
    signatures: tuple[str, ...] = ()
