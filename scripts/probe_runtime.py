"""Makes the data by which edgepress knows what each TFLite runtime takes.

    python scripts/probe_runtime.py cases                       # needs TensorFlow and ai-edge-quantizer
    python scripts/probe_runtime.py ask PYTHON [PYTHON ...]     # each with another runtime installed beside it

``cases`` converts small models of many layers in every way there is, and cuts out each kind of operator; the right
answers are those of the runtime beside this Python. ``ask`` writes one file for each runtime into the package's data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgepress_converters
from edgepress_converters.errors import ConverterError
from edgepress_converters.flatbuffer import OPERATOR_NAMES
from edgepress_converters.options import FORMATS, ConversionOptions
from edgepress_converters.probing import PROBE

DATA = Path(edgepress_converters.__file__).parent / "data"
CASES = DATA / "probe_cases.zip"
ANY_FLOAT: Any = {"allow_float": tuple(OPERATOR_NAMES.values())}
WAYS = [
    *(ConversionOptions(format, **ANY_FLOAT) for format in FORMATS),
    ConversionOptions("int8", "float32", **ANY_FLOAT),
    *(
        ConversionOptions(format, backend="ai-edge-quantizer", int4_weights=int4, **ANY_FLOAT)  # type: ignore[arg-type]
        for format in ("float32", "dynamic", "int8", "int16x8")
        for int4 in ((), ("*",))
        if int4 or format != "float32"
    ),
]


def small_models() -> list[Callable[[], Any]]:
    """Functions that make models: together they have what is found in networks of today, and little of it."""
    import keras
    from keras import layers

    def convolutions() -> Any:
        image = keras.Input((12, 12, 3))
        x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, padding="same")(layers.ZeroPadding2D(1)(x))
        x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", groups=2)(x)
        y = layers.AveragePooling2D(2)(x)
        z = layers.MaxPooling2D(2)(x)
        x = layers.Concatenate()([y, z])
        x = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.UpSampling2D(2, interpolation="nearest")(layers.Cropping2D(2)(x))
        return keras.Model(image, layers.Dense(4, "softmax")(layers.Flatten()(layers.GlobalMaxPooling2D()(x))))

    def gates() -> Any:
        image = keras.Input((8, 8, 8))
        x = layers.Conv2D(8, 1, activation="swish")(image)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(gate))
        x = layers.Add()([layers.Multiply()([x, gate]), image])
        x = layers.Subtract()([layers.Maximum()([x, image]), layers.Average()([x, image])])
        for name in ("hard_swish", "hard_sigmoid", "elu", "tanh", "gelu", "softplus", "leaky_relu", "relu"):
            x = layers.Activation(name)(layers.Conv2D(8, 1)(x))
        x = layers.PReLU(shared_axes=[1, 2])(x)
        return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))

    def attention() -> Any:
        tokens, features = keras.Input((6,), dtype="int32"), keras.Input((6, 8))
        x = layers.Add()([layers.Embedding(20, 8)(tokens), features])
        x = layers.Add()([layers.MultiHeadAttention(2, 4)(x, x), x])
        x = layers.LayerNormalization()(x)
        x = layers.Dense(8, "gelu")(layers.UnitNormalization()(x))
        return keras.Model([tokens, features], layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))

    def signals() -> Any:
        signal = keras.Input((16, 3))
        x = layers.Conv1D(4, 3, activation="relu", padding="causal")(signal)
        x = layers.MaxPooling1D(2)(layers.SeparableConv1D(4, 3)(layers.GroupNormalization(2)(x)))
        x = layers.Permute((2, 1))(layers.Reshape((-1, 2))(x))
        return keras.Model(signal, layers.Dense(3)(layers.Flatten()(x)))

    def rows() -> Any:
        series = keras.Input((4, 3))
        x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(series)
        return keras.Model(series, layers.Dense(3)(layers.GRU(4)(x)))

    def bytes_in() -> Any:
        image = keras.Input((8, 8, 3), dtype="uint8")
        x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
        return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))

    def wide() -> Any:
        features = keras.Input((64,))
        return keras.Model(features, layers.Dense(3)(layers.Dense(32, "relu")(features)))

    return [convolutions, gates, attention, signals, rows, bytes_in, wide]


def convert_all(folder: Path) -> Iterator[Path]:
    """Yield the models' files, in all ways that convert."""
    import keras

    from edgepress_converters.export import export_saved_model
    from edgepress_converters.pool import WorkerPool

    with WorkerPool() as pool:
        for make in small_models():
            keras.utils.set_random_seed(0)
            model = make()
            for loops in (True, False):
                saved_model = folder / make.__name__ / str(loops)
                export_saved_model(model, saved_model, steps_in_a_row=not loops)
            for number, options in enumerate(WAYS):
                output = folder / f"{make.__name__}-{number}.tflite"
                saved_model = folder / make.__name__ / str(not options.computes_in_integers)
                try:
                    pool.convert(saved_model, output, options, samples_for(model))
                except ConverterError as error:
                    sys.stderr.write(f"{make.__name__} {options.format}, {options.backend}: {error}\n")
                    continue
                yield output


def samples_for(model: Any) -> tuple[Any, ...]:
    """Random inputs to calibrate with."""
    import numpy as np

    random = np.random.default_rng(0)
    return tuple(
        random.integers(0, 20, (20, *tensor.shape[1:])).astype(tensor.dtype)
        if "int" in tensor.dtype
        else random.normal(size=(20, *tensor.shape[1:])).astype(tensor.dtype)
        for tensor in model.inputs
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cases")
    asking = commands.add_parser("ask")
    asking.add_argument("pythons", nargs="+", type=Path, metavar="PYTHON")
    arguments = parser.parse_args()
    if arguments.command == "cases":
        from edgepress_converters.probing.cases import make_cases

        with tempfile.TemporaryDirectory() as folder:
            sys.stderr.write(f"{make_cases(convert_all(Path(folder)), sys.executable, CASES)} cases\n")
        return
    for python in arguments.pythons:
        command = [str(python), str(PROBE), "all", str(CASES)]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603 - a Python of the user's
        found = json.loads(said.splitlines()[-1])
        output = DATA / f"runtime_{found['runtime']}_{found['version']}.json"
        output.write_text(json.dumps(found, indent=1) + "\n")
        sys.stderr.write(f"{output.name}: refuses or answers wrongly {len(found['refused'])} cases\n")


if __name__ == "__main__":
    main()
