"""Inputs whose right answers are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepress.errors import ConversionError
from edgepress.verification.reference import run_file

if TYPE_CHECKING:
    import keras

    from edgepress_converters.model import TensorSpec, TFLiteModel
    from edgepress_converters.pool import WorkerPool

Array = NDArray[Any]

# A change on one input in a hundred is missed by n goldens with the probability 0.99^n: 85 % for 16, 0.6 % for 512.
MOST_GOLDENS = 512
LEAST_GOLDENS = 16
# Of inputs and outputs, float32, that a board is sent and sends; pictures of 224 x 224: the least.
GOLDENS_BYTES = 4 << 20
RANDOM_GOLDENS = 8


@dataclass(frozen=True)
class Goldens:
    """Some inputs and what comes out for them.

    Attributes:
        inputs: real values, one array per model input, in model order, each ``(n, ...)``.
        reference_outputs: of the Keras model, float32, in model order; None when there is only a file.
        host_outputs: of the same file on this machine, raw, in model order.
        plain_outputs: the same without XNNPACK, by the runtime's own kernels, which round otherwise; None: not known.
    """

    inputs: tuple[Array, ...]
    reference_outputs: tuple[NDArray[np.float32], ...] | None
    host_outputs: tuple[Array, ...]
    plain_outputs: tuple[Array, ...] | None = None

    def first(self, count: int) -> Goldens:
        """Return the first of them: at most ``count``, but :data:`LEAST_GOLDENS` where there are so many."""
        return self.take(slice(max(count, LEAST_GOLDENS)))

    def take(self, chosen: Array | slice) -> Goldens:
        """Return those at ``chosen``."""
        reference, plain = self.reference_outputs, self.plain_outputs
        return Goldens(
            tuple(array[chosen] for array in self.inputs),
            None if reference is None else tuple(array[chosen] for array in reference),
            tuple(array[chosen] for array in self.host_outputs),
            None if plain is None else tuple(array[chosen] for array in plain),
        )


def golden_count(reference: keras.Model) -> int:
    """Return how many goldens to take: as many as tell a small fault, and can be sent to any board and back."""
    tensors = (*reference.inputs, *reference.outputs)
    bytes_each: int = sum(4 * math.prod(size or 1 for size in tensor.shape[1:]) for tensor in tensors)
    return max(LEAST_GOLDENS, min(MOST_GOLDENS, GOLDENS_BYTES // bytes_each))


def make_goldens(reference: keras.Model, model: TFLiteModel, inputs: Sequence[Array], pool: WorkerPool) -> Goldens:
    """Run the Keras model and the file that was made of it on ``inputs`` (model order, each ``(n, ...)``).

    Raises:
        DataError: the inputs do not fit. ConversionError: the host's runtime refuses the file or died of it.
    """
    from edgepress.training.evaluate import predict

    return _answered(model, tuple(inputs), predict(reference, inputs), pool)


def goldens_of_file(model: TFLiteModel, pool: WorkerPool, seed: int = 0) -> Goldens:
    """Make goldens of a file alone, on random inputs: they show whether two machines agree, not who is right.

    Raises:
        ConversionError: the host's runtime refuses the file or died of it.
    """
    random = np.random.default_rng(seed)
    return _answered(model, tuple(_random_input(spec, random) for spec in model.inputs), None, pool)


def _answered(
    model: TFLiteModel,
    inputs: tuple[Array, ...],
    reference: tuple[NDArray[np.float32], ...] | None,
    pool: WorkerPool,
) -> Goldens:
    host = run_file(model, inputs, pool)
    try:
        plain = run_file(model, inputs, pool, delegate="none")
    except ConversionError:  # kernels that XNNPACK spared the file: there is one right answer less
        plain = None
    return Goldens(inputs, reference, host, plain)


def _random_input(spec: TensorSpec, random: np.random.Generator) -> Array:
    """Real values over the whole range of a quantized input or of raw bytes; in [-1, 1) for floats. Other integers may
    be indices, of which only 0 is sure to exist."""
    shape = (RANDOM_GOLDENS, *spec.shape[1:])
    if np.dtype(spec.dtype).kind == "f":
        return random.uniform(-1, 1, shape).astype(np.float32)  # numpy's, of a seed  # nosec B311
    if spec.scale is None and spec.dtype != "uint8":
        return np.zeros(shape, spec.dtype)
    limits = np.iinfo(spec.dtype)
    raw = random.integers(limits.min, limits.max, shape, endpoint=True)
    if spec.scale is None:
        return raw.astype(spec.dtype)
    return ((raw - (spec.zero_point or 0)) * spec.scale).astype(np.float32)
