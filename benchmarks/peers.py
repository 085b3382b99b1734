"""What others make of a network: tfmot's quantization-aware training and pruning, and ai-edge-quantizer.

Run by quantization_zoo.py and ratio.py in an environment of its own (:func:`environment`): tfmot wants Keras 2.

    TF_USE_LEGACY_KERAS=1 PYTHON benchmarks/peers.py tfmot FOLDER
    PYTHON benchmarks/peers.py ai-edge-quantizer FOLDER

``FOLDER`` holds what they start from, and gets a file of the peer's name.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

TFMOT, AI_EDGE_QUANTIZER = "tfmot", "ai-edge-quantizer"
TFMOT_PRUNED, TFMOT_SPARSE = "tfmot, 80 % pruned, int8", "tfmot, 80 % pruned, int8, sparse"
INT4 = "ai-edge-quantizer, int4"
PACKAGES = {
    "tensorflow-model-optimization": "0.8.1",
    "tf_keras": "2.21.0",
    "dm-tree": "0.1.10",
    "ai-edge-quantizer": "0.10.0",
    "immutabledict": "4.3.1",
}
CALIBRATION = 200
BATCH = 128


def environment() -> Path:
    """Return the Python of an environment with these packages, made where it is not there yet.

    It sees the packages of the one that runs this: their own dependencies would be another TensorFlow of 1.6 GB.
    """
    folder = user_cache_path("edgepress") / "benchmarks" / "quantization-peers"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *wanted], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        outer = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (folder / "lib" / version / "site-packages" / "outer.pth").write_text(outer)
        done.touch()
    return python


class Refused(Exception):
    """A peer cannot make its file; the last line that it said."""


def make(peer: str, folder: Path, timeout_s: float = 600) -> None:
    """Have a peer make its file in a folder.

    Raises:
        Refused: it cannot.
    """
    surroundings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if peer in (TFMOT, TFMOT_PRUNED, TFMOT_SPARSE):
        surroundings["TF_USE_LEGACY_KERAS"] = "1"
    command = [str(environment()), __file__, peer, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=timeout_s, check=False)
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise Refused((said or [f"exit code {done.returncode}"])[-1][:300])


def prepare(
    folder: Path,
    network: dict[str, str],
    model: Any,
    train: Any,
    float_file: Path,
    epochs: int,
    rate: float,
    batch: int = BATCH,
) -> None:
    """Write what the peers start from; ``network``: a ``module`` of tasks/, and the ``name`` that it builds one by."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "weights.npz", **weights_of(model))
    np.savez(folder / "train.npz", x=train.inputs[0], y=train.targets[0])
    settings = {"float": str(float_file.resolve()), "epochs": epochs, "rate": rate, "batch": batch, **network}
    (folder / "settings.json").write_text(json.dumps(settings))


def with_ai_edge_quantizer(folder: Path, settings: dict[str, Any]) -> bytes:
    """Static int8 of the float file, calibrated on the first training samples."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    interpreter = Interpreter(settings["float"])
    ((signature, names),) = interpreter.get_signature_list().items()
    samples = np.load(folder / "train.npz")["x"][:CALIBRATION]
    one = quantizer.Quantizer(settings["float"], recipe.static_wi8_ai8())
    ranges = one.calibrate({signature: [{names["inputs"][0]: sample[None]} for sample in samples]})
    return bytes(one.quantize(ranges, enable_progress_report=False).quantized_model)


def in_int4(_: Path, settings: dict[str, Any]) -> bytes:
    """Weights of 4 bits, activations in float."""
    from ai_edge_quantizer import quantizer, recipe

    one = quantizer.Quantizer(settings["float"], recipe.dynamic_wi4_afp32())
    return bytes(one.quantize(enable_progress_report=False).quantized_model)


def with_tfmot(folder: Path, settings: dict[str, Any]) -> bytes:
    """The same network in Keras 2 with the same weights, trained with rounding, converted."""
    import tensorflow_model_optimization as tfmot

    model = in_keras_2(folder / "weights.npz", settings)
    return converted(trained(tfmot.quantization.keras.quantize_model(model), folder, settings), folder)


def pruned_with_tfmot(folder: Path, settings: dict[str, Any], sparse: bool = False) -> bytes:
    """The same network in Keras 2, four of five weights set to zero in training, calibrated and converted."""
    import tensorflow_model_optimization as tfmot

    begun = (folder / "weights.npz").read_bytes() + json.dumps(settings, sort_keys=True).encode()
    kept = folder / f"pruned-{hashlib.sha256(begun).hexdigest()[:12]}.npz"  # the same for files with and without zeros
    if kept.exists():
        return converted(in_keras_2(kept, settings), folder, calibrated=True, sparse=sparse)
    steps = settings["epochs"] * -(-len(np.load(folder / "train.npz")["y"]) // settings["batch"])
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, begin_step=0, end_step=steps // 2)
    whole = in_keras_2(folder / "weights.npz", settings)
    model = tfmot.sparsity.keras.prune_low_magnitude(whole, pruning_schedule=schedule)
    model = trained(model, folder, settings, [tfmot.sparsity.keras.UpdatePruningStep()])
    model = tfmot.sparsity.keras.strip_pruning(model)
    np.savez(kept, **weights_of(model))
    return converted(model, folder, calibrated=True, sparse=sparse)


def weights_of(model: Any) -> dict[str, Any]:
    """The weights by layer and number."""
    return {
        f"{layer.name}/{number}": weight for layer in model.layers for number, weight in enumerate(layer.get_weights())
    }


def in_keras_2(file: Path, settings: dict[str, Any]) -> Any:
    """The network with the weights of a file."""
    import tf_keras

    module = importlib.import_module(settings["module"])
    vars(module)["import_keras"] = lambda: tf_keras
    tf_keras.utils.set_random_seed(0)
    model = module.built(settings["name"])
    with np.load(file) as weights:
        for layer in model.layers:
            count = sum(name.rpartition("/")[0] == layer.name for name in weights.files)
            layer.set_weights([weights[f"{layer.name}/{number}"] for number in range(count)])
    return model


def trained(model: Any, folder: Path, settings: dict[str, Any], callbacks: Sequence[Any] = ()) -> Any:
    """The network, after as many epochs as it has."""
    import tf_keras

    with np.load(folder / "train.npz") as data:
        x, y = data["x"], data["y"]
    epochs, batch = settings["epochs"], settings["batch"]
    rate = tf_keras.optimizers.schedules.CosineDecay(settings["rate"], epochs * -(-len(x) // batch))
    model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def converted(model: Any, folder: Path, *, calibrated: bool = False, sparse: bool = False) -> bytes:
    """The int8 file of a network; ``calibrated``: with ranges of the first training samples, not its own."""
    import tensorflow as tf
    import tf_keras

    samples = np.load(folder / "train.npz")["x"][:CALIBRATION]
    fixed = tf_keras.Input(batch_shape=(1, *samples.shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(fixed, model(fixed)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if sparse:
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    if calibrated:
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


WAYS: dict[str, Callable[[Path, dict[str, Any]], bytes]] = {
    TFMOT: with_tfmot,
    TFMOT_PRUNED: pruned_with_tfmot,
    TFMOT_SPARSE: partial(pruned_with_tfmot, sparse=True),
    AI_EDGE_QUANTIZER: with_ai_edge_quantizer,
    INT4: in_int4,
}

if __name__ == "__main__":
    peer, work = sys.argv[1], Path(sys.argv[2])
    (work / f"{peer}.tflite").write_bytes(WAYS[peer](work, json.loads((work / "settings.json").read_text())))
