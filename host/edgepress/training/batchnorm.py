"""BatchNormalization statistics taken anew.

Moving averages need hundreds of steps: after a short fine-tune with Keras' momentum of 0.99 they are mostly what they
were before, and the model answers garbage. Forward passes over the training data with an exact average in place of the
moving one cost a fraction of an epoch (as for averaged weights: Izmailov et al. 2018, "Averaging Weights Leads to Wider
Optima").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.data import Split
from edgepress.training.evaluate import flat, mixed_batches
from edgepress.training.seeds import seeded

_SAMPLES = 4096  # a mean is known to 1.6 % of a standard deviation then, of convolutions' many places far better


class StatisticsEstimator:
    """Re-estimates the BatchNormalization statistics of one model, in place. For models that the caller made itself."""

    def __init__(self, model: Any, data: Split, seed: int = 0) -> None:
        self._layers = [
            layer
            for layer in read(model).layers().values()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self._data = data
        self._seed = seed
        self._model = flat(model)

    def update(self) -> None:
        """Set each layer's statistics to those of the data, as the layers before it are now.

        A layer that is called several times gets those of all calls together.
        """
        if not self._layers:
            return
        with ExitStack() as stack:
            moments = [stack.enter_context(_moments_of(layer)) for layer in self._layers]
            seen = 0
            for batch in mixed_batches(self._data, self._seed):
                self._model([keras.ops.convert_to_tensor(x) for x in batch.inputs], training=False)
                seen += len(batch)
                if seen >= _SAMPLES:
                    break
        for layer, of_layer in zip(self._layers, moments, strict=True):
            mean, variance = of_layer.together()
            layer.moving_mean.assign(mean.astype(np.float32))
            layer.moving_variance.assign(variance.astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and variance ``(channels,)`` of what a layer heard in each call, and of how many samples."""

    means: list[NDArray[np.float64]] = field(default_factory=list)
    variances: list[NDArray[np.float64]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)

    def together(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and variance over all calls (law of total variance)."""
        mean = np.average(self.means, axis=0, weights=self.weights)
        spread = np.average((np.asarray(self.means) - mean) ** 2, axis=0, weights=self.weights)
        return mean, np.average(self.variances, axis=0, weights=self.weights) + spread


@contextmanager
def _moments_of(layer: Any) -> Iterator[_Moments]:
    """Let a layer normalise by its batch, whatever mode the model runs in, and note what it found in each call.

    With a momentum of 0 the moving statistics are those of the batch. The rest of the model runs as in inference:
    Dropout would have the layers behind it see more variance than there is.
    """
    found = _Moments()
    momentum, call = layer.momentum, layer.call

    def noting(inputs: Any, training: Any = None, **settings: Any) -> Any:
        del training
        outputs = call(inputs, training=True, **settings)
        found.weights.append(int(inputs.shape[0]))
        found.means.append(np.asarray(layer.moving_mean, np.float64))
        found.variances.append(np.asarray(layer.moving_variance, np.float64))
        return outputs

    layer.momentum, layer.call = 0.0, noting
    try:
        yield found
    finally:
        layer.momentum = momentum
        del layer.call


def reestimate_batchnorm(model: Any, data: Split, seed: int = 0) -> Any:
    """Return a copy of the model whose BatchNormalization statistics are those of ``data``.

    Frozen BatchNormalization layers (``trainable`` False) keep theirs.
    """
    with seeded(seed):
        copy = copy_of(model)
        StatisticsEstimator(copy, data, seed).update()
    return copy
