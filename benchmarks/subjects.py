"""The models that the benchmarks run: made once, kept in the work folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.conversion import convert_model, inspect
from edgepress.data.loading import load_dataset
from edgepress.models import load_model
from edgepress_converters.options import ConversionOptions, Format
from edgepress_converters.pool import WorkerPool

if TYPE_CHECKING:
    from edgepress_converters.model import TFLiteModel

HERE = Path(__file__).parent


def digits(folder: Path, format: Format) -> TFLiteModel:
    """The example's network, trained and converted once."""
    output = folder / f"digits-{format}.tflite"
    if not output.exists():
        subprocess.run([sys.executable, str(HERE.parent / "examples/digits.py"), str(folder)], check=True)
        model = load_model(folder / "digits.keras")
        samples = load_dataset(str(folder / "digits.npz"), model, 0).train.inputs
        with WorkerPool() as pool:
            convert_model(model, output, ConversionOptions(format=format), samples, pool)
    return inspect(output)


def mobilenet(folder: Path) -> TFLiteModel:
    """MobileNetV2 for 224x224 pictures with random weights: latency does not depend on them."""
    output = folder / "mobilenet_v2-float32.tflite"
    if not output.exists():
        import keras

        model = keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))
        with WorkerPool() as pool:
            convert_model(model, output, ConversionOptions(format="float32"), None, pool)
    return inspect(output)


def mobilenet_int8(folder: Path) -> TFLiteModel:
    """The same in int8, calibrated on noise."""
    return _keras(folder / "mobilenet_v2-int8.tflite", "int8", (224, 224, 3), 1.0)


def mobilenet_small(folder: Path) -> TFLiteModel:
    """MobileNetV2 of width 0.35 for 160x160 pictures."""
    return _keras(folder / "mobilenet_v2_035_160-float32.tflite", "float32", (160, 160, 3), 0.35)


def tiny(folder: Path) -> TFLiteModel:
    """One convolution and one dense layer: some tens of microseconds at most."""
    output = folder / "tiny-float32.tflite"
    if not output.exists():
        import keras

        layers = keras.layers
        model = keras.Sequential(
            [layers.Input((28, 28, 1)), layers.Conv2D(8, 3, strides=2), layers.Flatten(), layers.Dense(10)]
        )
        _convert(model, output, "float32")
    return inspect(output)


def _keras(output: Path, format: Format, shape: tuple[int, int, int], alpha: float) -> TFLiteModel:
    if not output.exists():
        import keras

        _convert(keras.applications.MobileNetV2(weights=None, input_shape=shape, alpha=alpha), output, format)
    return inspect(output)


def _convert(model: Any, output: Path, format: Format) -> None:
    noise = np.random.default_rng(0).random((8, *model.input_shape[1:]), dtype=np.float32)
    with WorkerPool() as pool:
        convert_model(model, output, ConversionOptions(format=format), (noise,) if format == "int8" else None, pool)
