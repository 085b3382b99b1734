"""The networks that compression is told of since 1998: LeNet-300-100, LeNet-5 and ResNet-20.

LeNet-300-100 and Caffe's LeNet-5 are those of Deep Compression (Han et al. 2016), which makes them 40 and 39 times
smaller: 266,610 and 431,080 parameters for ten classes of 28x28 pictures. ResNet-20 (He et al. 2016) is the smallest of
those for CIFAR: 273,754 parameters here, for one channel of grey and with 1x1 convolutions where shapes change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepress.models import import_keras


def lenet_300_100(side: int, classes: int) -> Any:
    """Two hidden layers of 300 and 100 units."""
    keras = import_keras()
    inputs = keras.Input((side, side, 1), name="image")
    x = keras.layers.Flatten(name="flatten")(inputs)
    x = keras.layers.Dense(300, activation="relu", name="fc1")(x)
    x = keras.layers.Dense(100, activation="relu", name="fc2")(x)
    return keras.Model(inputs, _classes(keras, x, classes), name="lenet_300_100")


def lenet_5(side: int, classes: int) -> Any:
    """Caffe's: 20 and 50 filters of 5x5, no padding, 500 units."""
    keras = import_keras()
    inputs = keras.Input((side, side, 1), name="image")
    x = keras.layers.Conv2D(20, 5, name="conv1")(inputs)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.Conv2D(50, 5, name="conv2")(x)
    x = keras.layers.MaxPooling2D(name="pool2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(500, activation="relu", name="fc1")(x)
    return keras.Model(inputs, _classes(keras, x, classes), name="lenet_5")


def resnet_20(side: int, classes: int) -> Any:
    """Three stages of three residual blocks with 16, 32 and 64 filters; 1x1 convolutions where a stage begins."""
    keras = import_keras()
    layers = keras.layers

    def convolution(x: Any, filters: int, size: int, stride: int, name: str) -> Any:
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)

    inputs = keras.Input((side, side, 1), name="image")
    x = layers.ReLU(name="stem_relu")(convolution(inputs, 16, 3, 1, "stem"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, 4):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            shortcut = convolution(x, filters, 1, stride, f"{name}_shortcut") if stride > 1 else x
            x = layers.ReLU(name=f"{name}_relu1")(convolution(x, filters, 3, stride, f"{name}_conv1"))
            x = convolution(x, filters, 3, 1, f"{name}_conv2")
            x = layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([shortcut, x]))
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(inputs, _classes(keras, x, classes), name="resnet_20")


def _classes(keras: Any, x: Any, classes: int) -> Any:
    return keras.layers.Dense(classes, activation="softmax", name="class")(x)


def built(name: str) -> Any:
    """Return the network that a name of :func:`name_of` stands for."""
    net, side, classes = name.rsplit(" ", 2)
    return LENETS[net](int(side), int(classes))


def name_of(net: str, side: int, classes: int) -> str:
    """Return one word for a network, its pictures and its classes."""
    return f"{net} {side} {classes}"


LENETS: dict[str, Callable[[int, int], Any]] = {
    "LeNet-300-100": lenet_300_100,
    "LeNet-5": lenet_5,
    "ResNet-20": resnet_20,
}
