"""Training in half precision: weights stay float32, what is computed from them is halved (Micikevicius et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgepress.compression.graph.reader import read
from edgepress.compression.quantization.layers import FakeQuant


@contextmanager
def mixed_precision(model: Any, wanted: bool) -> Iterator[bool]:
    """Let a model's layers compute in half precision inside the block, if that is wanted; its outputs stay float32.

    float16 on a GPU, bfloat16 without one. A model with ranges for int8 stays in float32, since half precision is
    coarser than its steps. Yields whether losses need scaling, as they do in float16.
    """
    graph = read(model)
    if not wanted or any(isinstance(layer, FakeQuant) for layer in graph.layers().values()):
        yield False
        return
    import tensorflow as tf

    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    outputs = {graph.nodes[ref.node].name for ref in graph.outputs}
    layers = [layer for name, layer in graph.layers().items() if name not in outputs]
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = "mixed_float16" if on_gpu else "mixed_bfloat16"
    try:
        yield on_gpu
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy
