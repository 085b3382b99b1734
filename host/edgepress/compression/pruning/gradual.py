"""Pruning while a model trains, as a Keras callback: for the steps here, and for anybody's own ``fit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from edgepress.compression.graph.reader import read
from edgepress.compression.pruning.magnitude import BLOCKS, magnitude_masks, prunable_kernels
from edgepress.compression.pruning.schedule import cubic
from edgepress.errors import InputError


class GradualPruning(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets a growing share of a model's weights to zero while it trains (Zhu and Gupta 2017)::

        model.fit(x, y, epochs=10, callbacks=[edgepress.GradualPruning(0.8, end_step=2000)])

    From ``begin_step`` on the share grows along a cubic, every ``frequency`` steps, and is ``sparsity`` from
    ``end_step`` on. The smallest weights go. After every batch what was pruned is set to zero again, whatever the
    optimizer did; and every later training by edgepress leaves it at zero, since a pruned kernel is known by its zeros.
    Biases, BatchNorm, depthwise and recurrent weights are left alone.

    Args:
        sparsity: the share of weights in the end, above 0 and below 1.
        end_step: counted in optimizer steps from the first ``fit`` that the callback sees.
        scope: the share of each kernel (local), or of all together by one threshold (global).
        block: zeros come in blocks of 4 or 16 inputs of one output, as TFLite's sparse kernels read them; None: singly.
        keep: patterns of names of layers to leave alone.

    Raises:
        InputError: a value that makes no sense. CompressionError (in ``fit``): a pattern names no layer. ModelError (in
            ``fit``): the model is no functional or Sequential one.
    """

    def __init__(
        self,
        sparsity: float,
        *,
        end_step: int,
        begin_step: int = 0,
        frequency: int = 100,
        scope: Literal["local", "global"] = "local",
        block: Literal["1x4", "1x16"] | None = None,
        keep: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not 0 < sparsity < 1:
            raise InputError(f"sparsity is a share between 0 and 1; got {sparsity}")
        if not 0 <= begin_step < end_step or frequency < 1:
            raise InputError(
                f"pruning begins at a step, goes on every so many and ends later; got begin_step = {begin_step}, "
                f"end_step = {end_step}, frequency = {frequency}"
            )
        if scope not in ("local", "global"):
            raise InputError(f"scope is 'local' or 'global'; got {scope!r}")
        if block not in BLOCKS:
            raise InputError(f"block is '1x4', '1x16' or None; got {block!r}")
        self._sparsity = sparsity
        self._begin = begin_step
        self._end = end_step
        self._frequency = frequency
        self._scope = scope
        self._block = BLOCKS[block]
        self._keep = tuple(keep)
        self._step = 0
        self._offset = 0
        self._pruned = 0.0
        self._kernels: dict[str, Any] = {}
        self._masks: dict[str, Any] = {}

    def sparsity_at(self, step: int) -> float:
        """Return the share that is pruned after so many steps."""
        if step >= self._end:
            return self._sparsity
        since = max(0, step - self._begin) // self._frequency * self._frequency
        return cubic(self._sparsity, since / (self._end - self._begin))

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Find the kernels. A later ``fit`` goes on where an earlier one stopped."""
        del logs
        layers = read(self.model).layers()
        kernels, _ = prunable_kernels(self.model, self._block, self._keep)
        self._kernels = {name: layers[name].kernel for name in kernels}
        self._offset = int(self.model.optimizer.iterations) - self._step

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Prune more where it is time, and set what is pruned to zero."""
        del batch, logs
        self._step = int(self.model.optimizer.iterations) - self._offset
        share = self.sparsity_at(self._step)
        if share > self._pruned:
            values = {name: np.asarray(kernel) for name, kernel in self._kernels.items()}
            self._masks = {
                name: keras.ops.convert_to_tensor(mask, self._kernels[name].dtype)
                for name, mask in magnitude_masks(values, share, self._scope, self._block).items()
            }
            self._pruned = share
        for name, mask in self._masks.items():
            self._kernels[name].assign(self._kernels[name] * mask)
