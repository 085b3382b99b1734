"""The demo task: a small residual CNN for scikit-learn's handwritten digits.

    python examples/digits.py OUT_DIR

writes OUT_DIR/digits.keras and OUT_DIR/digits.npz, in half a minute on two cores; a second call keeps what is there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.models import import_keras
from edgepress.training.seeds import seeded

SEED = 0
EPOCHS = 12
SIDE = 16  # the digits are 8x8; twice that makes the network's structure worth measuring


def make_arrays() -> dict[str, Any]:
    """Return the digits as 16x16x1 float32 in 0..1, shuffled by seed: 1000 to train, 297 to validate, 500 to test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    images = np.kron(digits.images[order] / 16, np.ones((1, 2, 2)))[..., None].astype(np.float32)
    targets = digits.target[order].astype(np.int64)
    arrays: dict[str, Any] = {
        "labels": np.array([str(name) for name in digits.target_names]),
        "color": np.array("gray"),
        "scale": np.array(255.0),  # a picture has 0..255
    }
    for name, part in (("train", slice(0, 1000)), ("val", slice(1000, 1297)), ("test", slice(1297, None))):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = images[part], targets[part]
    return arrays


def make_model() -> Any:
    """Return the untrained network: two residual blocks, the second with a depthwise and 1x1 convolutions."""
    keras = import_keras()
    layers = keras.layers

    def normalised(x: Any, name: str, activation: str | None = "relu") -> Any:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return x if activation is None else layers.Activation(activation, name=f"{name}_{activation}")(x)

    def convolution(x: Any, filters: int, size: int, name: str, activation: str | None = "relu") -> Any:
        x = layers.Conv2D(filters, size, padding="same", use_bias=False, name=name)(x)
        return normalised(x, name, activation)

    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    x = convolution(inputs, 16, 3, "stem")

    branch = convolution(x, 48, 3, "block1_wide")
    branch = convolution(branch, 16, 3, "block1_narrow", activation=None)
    x = layers.ReLU(name="block1_relu")(layers.Add(name="block1_add")([x, branch]))
    x = layers.MaxPooling2D(name="pool1")(x)

    branch = convolution(x, 64, 1, "block2_expand")
    branch = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="block2_depthwise")(branch)
    branch = normalised(branch, "block2_depthwise")
    branch = convolution(branch, 16, 1, "block2_project", activation=None)
    x = layers.ReLU(name="block2_relu")(layers.Add(name="block2_add")([x, branch]))

    x = convolution(x, 64, 3, "head")
    x = layers.MaxPooling2D(name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="features")(x)
    outputs = layers.Dense(10, activation="softmax", name="digit")(x)
    return keras.Model(inputs, outputs, name="digits")


def train(arrays: dict[str, Any]) -> Any:
    """Return the network trained on ``arrays``, its BatchNorm statistics and weights those of the last epoch."""
    keras = import_keras()
    import tensorflow as tf
    from rich.progress import Progress

    steps = -(-len(arrays["x_train"]) // 32)
    with seeded(SEED), Progress() as progress:
        bar = progress.add_task("Training the digits network", total=EPOCHS * steps)
        model = make_model()
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * steps)),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        batches = tf.data.Dataset.from_tensor_slices((arrays["x_train"], arrays["y_train"]))
        model.fit(
            batches.shuffle(len(arrays["x_train"]), seed=SEED).batch(32),
            epochs=EPOCHS,
            shuffle=False,  # the batches shuffle themselves, by seed
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: progress.advance(bar))],
        )
    return model


def main(folder: Path) -> None:
    """Write the data and the trained model, each only where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    data_path, model_path = folder / "digits.npz", folder / "digits.keras"
    if data_path.exists() and model_path.exists():
        print(f"{model_path} and {data_path} are there already")
        return
    arrays = make_arrays()
    model = train(arrays)
    accuracy = model.evaluate(arrays["x_test"], arrays["y_test"], verbose=0, return_dict=True)["accuracy"]
    np.savez_compressed(data_path.with_suffix(".part.npz"), **arrays)
    model.save(model_path.with_suffix(".part.keras"))
    data_path.with_suffix(".part.npz").replace(data_path)
    model_path.with_suffix(".part.keras").replace(model_path)
    print(f"{model_path}: {model.count_params():,} parameters, accuracy {accuracy:.3f} on the test split; {data_path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/digits.py OUT_DIR")
    main(Path(sys.argv[1]))
