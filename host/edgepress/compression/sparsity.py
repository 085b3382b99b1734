"""What the zeros of pruned kernels are good for in a TFLite file.

Sparse kernels exist for Dense layers, and read blocks of inputs of one output: 4 of them in float, 16 in int8. Other
zeros are put back when a file without them is loaded, where the runtime takes it at all. What is refused here was
converted by TensorFlow 2.21 and tried on tflite-runtime 2.14 and ai-edge-litert 1.4, 2.1 and 2.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.training.zeros import zero_masks
from edgepress_converters.options import Format

_BLOCKS: dict[Format, int] = {"float32": 4, "dynamic": 16, "int8": 16}
_LEAST_ZEROS = 0.3  # of a kernel: where there are fewer the converter writes it whole
_LEAST_IN_BLOCKS = 0.9  # of a kernel's zeros: where fewer come in blocks the converter takes none for a block


def why_not_sparse(model: Any, format: Format) -> str | None:
    """Return why a file of this format without a model's zeros is of no use; None: nothing is known against it."""
    for name, zeros in _sparse_kernels(model).items():
        if zeros.ndim > 2:
            if format in ("dynamic", "int16x8"):
                return f"LiteRT loads no sparse convolution, such as {name}, in {format}"
        elif format in ("dynamic", "int8") and not _in_blocks(zeros, 16):
            return (
                f'LiteRT loads zeros of Dense layers in {format} only in blocks of 16 (block = "1x16"), not of {name}'
            )
        elif format == "float16" and _in_blocks(zeros, 4):
            return f"zeros of Dense layers in blocks, such as {name}, make every runtime answer NaN in float16"
        elif format == "int16x8" and _in_blocks(zeros, 16):
            return f"zeros of Dense layers in blocks of 16, such as {name}, make LiteRT answer wrongly in int16x8"
    return None


def why_not_faster(model: Any, format: Format) -> str | None:
    """Return why a file without the model's zeros cannot be faster; None: it has to be measured."""
    block = _BLOCKS.get(format)
    if block is None:
        return f"no runtime has sparse kernels for {format}"
    if not any(zeros.ndim == 2 and _in_blocks(zeros, block) for zeros in _sparse_kernels(model).values()):
        return f"no Dense layer has {_LEAST_ZEROS:.0%} of zeros in blocks of {block}, as sparse {format} kernels read"
    return why_not_sparse(model, format)


def _sparse_kernels(model: Any) -> dict[str, NDArray[np.bool_]]:
    """Where the zeros are in each kernel ``(..., inputs, outputs)`` that the converter takes for sparse."""
    zeros = {name: mask == 0 for name, mask in zero_masks(model).items()}
    return {name: where for name, where in zeros.items() if where.mean() >= _LEAST_ZEROS}


def _in_blocks(zeros: NDArray[np.bool_], block: int) -> bool:
    *space, inputs, outputs = zeros.shape
    if inputs % block:
        return False
    whole = zeros.reshape(*space, inputs // block, block, outputs).all(axis=-2)
    return bool(whole.mean() >= _LEAST_IN_BLOCKS * zeros.mean())
