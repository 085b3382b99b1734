"""What others make of a network of the zoo: tfmot's quantization-aware training, and ai-edge-quantizer.

Run by quantization_zoo.py in an environment of its own (:func:`environment`): tfmot wants Keras 2.

    TF_USE_LEGACY_KERAS=1 PYTHON benchmarks/quantization_peers.py tfmot FOLDER
    PYTHON benchmarks/quantization_peers.py ai-edge-quantizer FOLDER

``FOLDER`` holds what they start from, and gets ``tfmot.tflite`` and ``ai-edge-quantizer.tflite``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

TFMOT, AI_EDGE_QUANTIZER = "tfmot", "ai-edge-quantizer"
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
    if peer == TFMOT:
        surroundings["TF_USE_LEGACY_KERAS"] = "1"
    command = [str(environment()), __file__, peer, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=timeout_s, check=False)
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise Refused((said or [f"exit code {done.returncode}"])[-1][:300])


def prepare(folder: Path, subject: str, model: Any, train: Any, float_file: Path, epochs: int, rate: float) -> None:
    """Write what the peers start from."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{layer.name}/{number}": weight for layer in model.layers for number, weight in enumerate(layer.get_weights())
    }
    np.savez(folder / "weights.npz", **weights)
    np.savez(folder / "train.npz", x=train.inputs[0], y=train.targets[0])
    settings = {"subject": subject, "float": str(float_file.resolve()), "epochs": epochs, "rate": rate}
    (folder / "settings.json").write_text(json.dumps(settings))


def with_ai_edge_quantizer(folder: Path, settings: dict[str, Any]) -> None:
    """Static int8 of the float file, calibrated on the first training samples."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    interpreter = Interpreter(settings["float"])
    ((signature, names),) = interpreter.get_signature_list().items()
    samples = np.load(folder / "train.npz")["x"][:CALIBRATION]
    one = quantizer.Quantizer(settings["float"], recipe.static_wi8_ai8())
    ranges = one.calibrate({signature: [{names["inputs"][0]: sample[None]} for sample in samples]})
    target = folder / f"{AI_EDGE_QUANTIZER}.tflite"
    target.unlink(missing_ok=True)
    one.quantize(ranges, enable_progress_report=False).export_model(str(target))


def with_tfmot(folder: Path, settings: dict[str, Any]) -> None:
    """The same network in Keras 2 with the same weights, trained with rounding, converted."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras
    from tasks import zoo

    zoo.import_keras = lambda: tf_keras
    subject = next(one for one in zoo.ZOO if one.name == settings["subject"])
    tf_keras.utils.set_random_seed(subject.seed)
    model = subject.build()
    with np.load(folder / "weights.npz") as weights:
        for layer in model.layers:
            count = sum(name.rpartition("/")[0] == layer.name for name in weights.files)
            layer.set_weights([weights[f"{layer.name}/{number}"] for number in range(count)])
    with np.load(folder / "train.npz") as data:
        x, y = data["x"], data["y"]
    annotated = tfmot.quantization.keras.quantize_model(model)
    epochs = settings["epochs"]
    rate = tf_keras.optimizers.schedules.CosineDecay(settings["rate"], epochs * -(-len(x) // BATCH))
    annotated.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    annotated.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    fixed = tf_keras.Input(batch_shape=(1, *x.shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf_keras.Model(fixed, annotated(fixed)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / f"{TFMOT}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    work = Path(sys.argv[2])
    {TFMOT: with_tfmot, AI_EDGE_QUANTIZER: with_ai_edge_quantizer}[sys.argv[1]](
        work, json.loads((work / "settings.json").read_text())
    )
