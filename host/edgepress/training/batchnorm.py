"""BatchNormalization statistics taken anew, exactly.

Moving averages need hundreds of steps: after a short fine-tune with Keras' momentum of 0.99 they are mostly what they
were before, and the model answers garbage. Forward passes over the training data with an exact average in place of the
moving one cost a fraction of an epoch (as for averaged weights: Izmailov et al. 2018, "Averaging Weights Leads to Wider
Optima").
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.data import Split
from edgepress.training.evaluate import batches, flat
from edgepress.training.seeds import seeded

_SAMPLES = 4096  # more change a mean and a variance by less than a percent of a standard deviation


class StatisticsEstimator:
    """Re-estimates the BatchNormalization statistics of one model, in place. For models that the caller made itself.

    While it is open the layers' momentum is 0, so that after a forward pass in training mode ``moving_mean`` and
    ``moving_variance`` are those of the batch; use it as a context manager to have the momentum put back.
    """

    def __init__(self, model: Any, data: Split, seed: int = 0) -> None:
        self._layers = [
            layer
            for layer in read(model).layers().values()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self._momenta = [layer.momentum for layer in self._layers]
        self._data = data.sample(_SAMPLES, seed)
        self._model = flat(model)

    def __enter__(self) -> StatisticsEstimator:
        for layer in self._layers:
            layer.momentum = 0.0
        return self

    def __exit__(self, *exception: object) -> None:
        for layer, momentum in zip(self._layers, self._momenta, strict=True):
            layer.momentum = momentum

    def update(self) -> None:
        """Set each layer's statistics to those of the data, as the layers before it are now."""
        if not self._layers:
            return
        by_batch: list[tuple[int, list[NDArray[np.float64]], list[NDArray[np.float64]]]] = []
        for batch in batches(self._data):
            self._model([keras.ops.convert_to_tensor(x) for x in batch.inputs], training=True)
            means = [np.asarray(layer.moving_mean, np.float64) for layer in self._layers]
            variances = [np.asarray(layer.moving_variance, np.float64) for layer in self._layers]
            by_batch.append((len(batch), means, variances))
        weights = [count for count, _, _ in by_batch]
        for position, layer in enumerate(self._layers):
            mean = np.average([means[position] for _, means, _ in by_batch], axis=0, weights=weights)
            squares = [variances[position] + means[position] ** 2 for _, means, variances in by_batch]
            variance = np.average(squares, axis=0, weights=weights) - mean**2  # law of total variance
            layer.moving_mean.assign(mean.astype(np.float32))
            layer.moving_variance.assign(np.maximum(variance, 0).astype(np.float32))


def reestimate_batchnorm(model: Any, data: Split, seed: int = 0) -> Any:
    """Return a copy of the model whose BatchNormalization statistics are those of ``data``.

    Frozen BatchNormalization layers (``trainable`` False) keep theirs.
    """
    with seeded(seed):
        copy = copy_of(model)
        with StatisticsEstimator(copy, data, seed) as estimator:
            estimator.update()
    return copy
