"""Fitting what reads removed channels, so that it says what it said with them.

A layer that lost inputs gets the weights whose outputs are nearest, by least squares on training data, to those of the
whole model (Luo et al. 2017, "ThiNet"; He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks").
Layers are fitted in the order of the graph, each on what the fitted layers before it now give, so that errors do not
add up. Ridge regression towards the weights that are there keeps what the data do not speak of.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.channels import Alive, Channels
from edgepress.compression.graph.reader import Node, read
from edgepress.compression.graph.tracing import trace
from edgepress.data import Split
from edgepress.training.zeros import zero_masks

Rows = NDArray[np.float32]

_LAYERS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
_SAMPLES = 1024
_INPUT_BYTES = 8 << 20  # of the samples together: what flows through the graph is a few hundred times as much
_LEAST_EQUATIONS = 4096
_EQUATIONS_PER_UNKNOWN = 4
_RIDGE = 1e-3  # of the mean of the Gram matrix' diagonal


def reconstruct(
    channels: Channels, removed_atoms: NDArray[np.int64], pruned: Any, data: Split, seed: int = 0
) -> tuple[str, ...]:
    """Fit the layers of ``pruned`` that lost inputs, in place, and return their names.

    Left as they are: shared and frozen layers, and those with pruned weights, whose zeros are to stay.

    Args:
        channels: of the whole model.
        removed_atoms: those that ``pruned`` was made without.
        data: training inputs; at most 1024 samples and 8 MiB of them are used.
    """
    alive = channels.alive(removed_atoms)
    readers = {node.name: node for node in channels.graph.nodes if _can_be_fitted(node, channels, alive)}
    for name in zero_masks(pruned):
        readers.pop(name, None)
    sample = data.sample(min(_SAMPLES, max(1, _INPUT_BYTES // data.sample_bytes)), seed)
    generator = np.random.default_rng(seed)
    places: dict[str, NDArray[np.int64]] = {}
    wanted: dict[str, Rows] = {}

    def note(node: Node, inputs: tuple[NDArray[Any], ...]) -> None:
        if node.name not in readers:
            return
        kernel, *bias = node.operation.get_weights()
        places[node.name] = _places(node.operation, inputs[0], generator)
        outputs = _windows(node.operation, inputs[0], places[node.name]) @ kernel.reshape(-1, kernel.shape[-1])
        stay = alive[channels.bindings[node.index].outputs[0]]
        wanted[node.name] = (outputs + bias[0] if bias else outputs)[:, stay]

    def fit(node: Node, inputs: tuple[NDArray[Any], ...]) -> None:
        if node.name in readers:
            rows = _windows(node.operation, inputs[0], places.pop(node.name))
            _fit(node.operation, rows, wanted.pop(node.name))

    trace(channels.graph, sample.inputs, note)
    trace(read(pruned), sample.inputs, fit)
    return tuple(readers)


def _can_be_fitted(node: Node, channels: Channels, alive: Alive) -> bool:
    binding = channels.bindings[node.index]
    layer = node.operation
    if binding.reads is None or type(layer) not in _LAYERS or not layer.trainable:
        return False
    if len(channels.graph.calls(node.name)) > 1 or (type(layer) is keras.layers.EinsumDense and layer.kernel.ndim != 2):
        return False
    (source,) = node.inputs
    return not bool(alive[channels.bindings[source.node].outputs[source.output]].all())


def _places(layer: Any, inputs: NDArray[Any], generator: np.random.Generator) -> NDArray[np.int64]:
    """Where to look, ``(rows, 1 + dimensions)``: a sample and a place among the outputs, each at most once."""
    shape = (len(inputs), *(_outputs(layer, axis, size) for axis, size in enumerate(inputs.shape[1:-1])))
    unknowns = math.prod(layer.kernel.shape[:-1])
    count = min(math.prod(shape), max(_LEAST_EQUATIONS, _EQUATIONS_PER_UNKNOWN * unknowns))
    chosen = generator.choice(math.prod(shape), count, replace=False)
    return np.stack(np.unravel_index(chosen, shape), axis=-1)


def _windows(layer: Any, inputs: NDArray[Any], places: NDArray[np.int64]) -> Rows:
    """What the kernel sees at these places, ``(rows, kernel size * channels)``, in the order of its weights."""
    dimensions = inputs.ndim - 2
    around = [_padding(layer, axis, inputs.shape[1 + axis]) for axis in range(dimensions)]
    padded = np.pad(inputs, [(0, 0), *around, (0, 0)])
    index = [places[:, 0].reshape(-1, *(1,) * dimensions)]
    for axis in range(dimensions):
        size, stride, dilation = _window(layer, axis)
        seen = places[:, 1 + axis, None] * stride + np.arange(size) * dilation
        index.append(seen.reshape(len(places), *(size if other == axis else 1 for other in range(dimensions))))
    return np.asarray(padded[tuple(index)].reshape(len(places), -1), np.float32)


def _window(layer: Any, axis: int) -> tuple[int, int, int]:
    """Kernel size, stride and dilation along an axis; a Dense layer sees one place at a time."""
    if not hasattr(layer, "kernel_size"):
        return 1, 1, 1
    return layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]


def _padding(layer: Any, axis: int, size: int) -> tuple[int, int]:
    """How many zeros a convolution puts before and behind an axis."""
    kernel, stride, dilation = _window(layer, axis)
    reach = (kernel - 1) * dilation
    padding = getattr(layer, "padding", "valid")
    if padding == "causal":
        return reach, 0
    if padding == "valid":
        return 0, 0
    missing = max(0, (math.ceil(size / stride) - 1) * stride + reach + 1 - size)
    return missing // 2, missing - missing // 2


def _outputs(layer: Any, axis: int, size: int) -> int:
    kernel, stride, dilation = _window(layer, axis)
    return (size + sum(_padding(layer, axis, size)) - (kernel - 1) * dilation - 1) // stride + 1


def _fit(layer: Any, rows: Rows, wanted: Rows) -> None:
    """Give a layer the weights with which rows become what is wanted."""
    kernel, *bias = layer.get_weights()
    weights = np.concatenate([kernel.reshape(-1, kernel.shape[-1]), *(b[None] for b in bias)])
    if bias:
        rows = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)
    gram = (rows.T @ rows).astype(np.float64)
    gram += max(_RIDGE * np.trace(gram) / len(gram), 1e-12) * np.eye(len(gram))
    missing = (rows.T @ (wanted - rows @ weights)).astype(np.float64)
    weights = weights + np.linalg.solve(gram, missing)
    layer.set_weights([weights[: len(weights) - len(bias)].reshape(kernel.shape), *(weights[-1] for _ in bias)])
