"""A small trained model with its data, as users hand them in: for tests that go the whole way."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_small_job(folder: Path) -> tuple[Path, Path]:
    """Train a tiny CNN on scikit-learn's digits (8x8) for a few epochs; return the .keras and the .npz file."""
    import keras
    from sklearn.datasets import load_digits

    from edgepress.models import load_model  # noqa: F401 -- quiets TensorFlow before keras is imported

    pictures, labels = load_digits(return_X_y=True)
    x = (pictures.reshape(-1, 8, 8, 1) / 16.0).astype(np.float32)
    y = labels.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    train, val, test = np.split(order, [1100, 1400])
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    hidden = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    hidden = keras.layers.BatchNormalization(momentum=0.9)(hidden)
    hidden = keras.layers.ReLU()(hidden)
    hidden = keras.layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(hidden)
    hidden = keras.layers.Flatten()(hidden)
    hidden = keras.layers.Dense(32, activation="relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 3e-3
    model.fit(x[train], y[train], batch_size=64, epochs=4, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    np.savez(
        folder / "data.npz",
        x_train=x[train],
        y_train=y[train],
        x_val=x[val],
        y_val=y[val],
        x_test=x[test],
        y_test=y[test],
        labels=np.array([str(digit) for digit in range(10)]),
    )
    np.save(folder / "digit.npy", x[test[0]])
    return folder / "model.keras", folder / "data.npz"
