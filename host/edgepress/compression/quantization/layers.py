"""Keras layers that compute as their int8 operators in TFLite will: with rounded weights, and rounded activations.

Plain ``tf.quantization.fake_quant_*`` operations, from which the converter takes its scales (Jacob et al. 2018). Their
gradient is that of the identity inside the range. Names of classes and weights are part of saved models: they stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

ops = keras.ops
_layers = keras.layers
registered = keras.saving.register_keras_serializable("edgepress")

Observer = Callable[[Any], None]
"""Is shown a batch of what flows through a :class:`FakeQuant`."""

_MOMENTUM = 0.99
_SMALLEST_OF_BIAS = 1e-4  # weights of a channel, against its bias: below, a bias in int32 steps would overflow


@registered
class FakeQuant(keras.layers.Layer):  # type: ignore[misc]
    """Rounds a tensor to 256 steps between two ends, one range for all of it.

    Weights: ``minimum`` and ``maximum`` (scalars; not trainable; 0 is between them). While a model trains they follow
    the smallest and largest value of each batch by an exponential moving average.

    Args:
        bounds: a range that TFLite prescribes; then there are no weights.
    """

    def __init__(self, bounds: Sequence[float] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.bounds = None if bounds is None else (float(bounds[0]), float(bounds[1]))
        self.supports_masking = True
        self.follows = True  # batches, while the model trains
        self.observer: Observer | None = None  # while there is one, what flows through is left as it is

    def build(self, input_shape: Any) -> None:
        del input_shape
        if self.bounds is None:
            self.minimum = self.add_weight(shape=(), initializer="zeros", trainable=False, name="minimum")
            self.maximum = self.add_weight(shape=(), initializer="zeros", trainable=False, name="maximum")

    def call(self, inputs: Any, training: bool = False, observe: bool = True, in_file: bool = False) -> Any:
        """Round.

        Args:
            observe: False where the layer is called again on a tensor of the same range.
            in_file: only when the model is exported, with a batch of 1: where the converter has to know the range and
                what follows is rounded by it anyway.
        """
        if in_file and inputs.shape[0] != 1:
            return inputs
        if self.observer is not None:
            if observe:
                self.observer(inputs)
            return inputs
        if self.bounds is not None:
            return tf.quantization.fake_quant_with_min_max_args(inputs, *self.bounds)
        if training and observe and self.follows:
            self._follow(self.minimum, ops.minimum(ops.min(inputs), 0.0))
            self._follow(self.maximum, ops.maximum(ops.max(inputs), 0.0))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self.minimum.value, self.maximum.value)

    def compute_output_shape(self, input_shape: Any, **settings: Any) -> Any:
        del settings
        return input_shape

    def set_range(self, low: float, high: float) -> None:
        """Set the range, widened to hold 0."""
        self.minimum.assign(min(low, 0.0))
        self.maximum.assign(max(high, 0.0, min(low, 0.0) + 1e-6))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bounds": self.bounds}

    @staticmethod
    def _follow(average: Any, value: Any) -> None:
        average.assign(average * _MOMENTUM + value * (1 - _MOMENTUM))


class QuantizedWeights:
    """What layers with rounded weights have in common.

    Attributes:
        exact: the weights are used as they are: while ranges are taken, and for diagnosis. Never saved.
    """

    exact = False
    bias: Any

    def per_channel(self, kernel: Any) -> Any:
        """Return the kernel ``(..., outputs)`` rounded with a scale for each output."""
        if self.exact:
            return kernel
        largest = ops.max(ops.abs(kernel), axis=tuple(range(len(kernel.shape) - 1)))
        if self.bias is not None:
            largest = ops.maximum(largest, _SMALLEST_OF_BIAS * ops.stop_gradient(ops.abs(self.bias)))
        largest = ops.where(largest > 0, largest, 1.0)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -largest, largest, narrow_range=True)

    def per_tensor(self, kernel: Any) -> Any:
        """Return the kernel rounded with one scale."""
        if self.exact:
            return kernel
        largest = ops.max(ops.abs(kernel))
        if self.bias is not None:
            largest = ops.maximum(largest, _SMALLEST_OF_BIAS * ops.stop_gradient(ops.max(ops.abs(self.bias))))
        largest = ops.where(largest > 0, largest, 1.0)
        return tf.quantization.fake_quant_with_min_max_vars(kernel, -largest, largest, narrow_range=True)

    def finished(self, outputs: Any) -> Any:
        """Add the bias, and apply the activation that the operator does itself."""
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs) if self.activation is not None else outputs

    activation: Any


@registered
class QuantizedConv2D(QuantizedWeights, keras.layers.Conv2D):  # type: ignore[misc]
    """A scale for each filter."""

    def call(self, inputs: Any) -> Any:
        return self.finished(self.convolution_op(inputs, self.per_channel(self.kernel)))


@registered
class QuantizedConv1D(QuantizedWeights, keras.layers.Conv1D):  # type: ignore[misc]
    """A scale for each filter; computed as TFLite does it, as a convolution over pictures of height 1."""

    def call(self, inputs: Any) -> Any:
        padding = self.padding
        if padding == "causal":
            inputs = ops.pad(inputs, self._compute_causal_padding())
            padding = "valid"
        outputs = ops.conv(
            ops.expand_dims(inputs, 1),
            self.per_channel(ops.expand_dims(self.kernel, 0)),
            strides=[1, *self.strides],
            padding=padding,
            dilation_rate=[1, *self.dilation_rate],
        )
        return self.finished(ops.squeeze(outputs, 1))


class _Depthwise(QuantizedWeights):
    """A scale for each channel of the output."""

    def _convolved(self, inputs: Any, kernel: Any, strides: Any, padding: str, dilation: Any) -> Any:
        height, width, channels, multiplier = kernel.shape
        flat = self.per_channel(ops.reshape(kernel, (height, width, 1, channels * multiplier)))
        kernel = ops.reshape(flat, (height, width, channels, multiplier))
        return ops.depthwise_conv(inputs, kernel, strides=strides, padding=padding, dilation_rate=dilation)


@registered
class QuantizedDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """A scale for each channel."""

    def call(self, inputs: Any) -> Any:
        return self.finished(self._convolved(inputs, self.kernel, self.strides, self.padding, self.dilation_rate))


@registered
class QuantizedDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):  # type: ignore[misc]
    """A scale for each channel; computed over pictures of height 1."""

    def call(self, inputs: Any) -> Any:
        step = self.strides[0]  # TFLite and TensorFlow want equal strides; one row has no second
        outputs = self._convolved(
            ops.expand_dims(inputs, 1),
            ops.expand_dims(self.kernel, 0),
            (step, step),
            self.padding,
            (1, *self.dilation_rate),
        )
        return self.finished(ops.squeeze(outputs, 1))


@registered
class QuantizedConv2DTranspose(QuantizedWeights, keras.layers.Conv2DTranspose):  # type: ignore[misc]
    """One scale, as for Dense: Keras' kernels have their outputs on the axis before the last."""

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv_transpose(
            inputs,
            self.per_tensor(self.kernel),
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
        )
        return self.finished(outputs)


@registered
class QuantizedDense(QuantizedWeights, keras.layers.Dense):  # type: ignore[misc]
    """One scale: the converter of TensorFlow 2.21 fails on several ("mismatched quantized axes")."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        del training
        return self.finished(ops.matmul(inputs, self.per_tensor(self.kernel)))


@registered
class QuantizedEinsumDense(QuantizedWeights, keras.layers.EinsumDense):  # type: ignore[misc]
    """One scale, as for Dense."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        del training
        return self.finished(ops.einsum(self.equation, inputs, self.per_tensor(self.kernel)))


@registered
class ChannelAffine(QuantizedWeights, keras.layers.Layer):  # type: ignore[misc]
    """Scale and offset of each channel: a BatchNormalization that no layer could take in, Rescaling, Normalization.

    A depthwise convolution with a kernel of one place, so that each channel has a scale of its own and the offset is as
    fine as a bias. Weights: ``kernel`` and ``bias``, ``(channels,)``.
    """

    def __init__(self, activation: Any = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.activation = keras.activations.get(activation) if activation is not None else None

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="kernel")
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        if self.exact:
            return inputs * self.kernel + self.bias
        shape = inputs.shape
        channels = shape[-1]
        pictures = inputs if len(shape) == 4 else ops.reshape(inputs, (-1, 1, int(np.prod(shape[1:-1])), channels))
        kernel = self.per_channel(ops.reshape(self.kernel, (1, 1, 1, channels)))
        outputs = ops.depthwise_conv(pictures, ops.reshape(kernel, (1, 1, channels, 1)), padding="valid")
        outputs = ops.add(outputs, self.bias)
        return outputs if len(shape) == 4 else ops.reshape(outputs, (-1, *shape[1:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@registered
class StaysFloat(keras.layers.Layer):  # type: ignore[misc]
    """Keeps the operator before it in float, where the converter would give it integers unasked.

    With a batch of 1, as models are exported, it is a REVERSE_SEQUENCE of one element: an operator that changes
    nothing, has no int8 kernel, and is left in place by every optimizer (a cast forth and back is two, and loses bits).
    """

    def call(self, inputs: Any) -> Any:
        if inputs.shape[0] != 1:
            return inputs
        return tf.reverse_sequence(inputs, [1], seq_axis=1, batch_axis=0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


QUANTIZED: dict[type, Any] = {
    _layers.Conv1D: QuantizedConv1D,
    _layers.Conv2D: QuantizedConv2D,
    _layers.Conv2DTranspose: QuantizedConv2DTranspose,
    _layers.DepthwiseConv1D: QuantizedDepthwiseConv1D,
    _layers.DepthwiseConv2D: QuantizedDepthwiseConv2D,
    _layers.Dense: QuantizedDense,
    _layers.EinsumDense: QuantizedEinsumDense,
}
"""Layers with weights, and what computes like them in int8."""
