import keras
import numpy as np
import pytest

from edgepress.compression.compress import compress
from edgepress.compression.quantization.preparation import unlike_training
from edgepress.compression.recipe import parse_recipe
from edgepress.data import Dataset
from edgepress.training.batchnorm import reestimate_batchnorm
from edgepress.training.objective import objective_of
from support.compress_models import blobs, compiled, made

layers = keras.layers
DATA = blobs()
(X,) = DATA.train.inputs


def with_batchnorm():
    inputs = keras.Input((8, 8, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def with_normalization():
    inputs = keras.Input((8, 8, 2))
    mean, variance = X.mean((0, 1, 2)), X.var((0, 1, 2))
    return keras.Model(
        inputs, layers.Flatten()(layers.Normalization(mean=mean, variance=variance, name="norm")(inputs))
    )


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda x: x, None),
        (lambda x: x * 1.5 + 0.2, None),
        (lambda x: x * 127.5 + 127.5, "at norm"),
        (lambda x: x / 255, "times as wide"),
    ],
)
@pytest.mark.parametrize("build", [with_batchnorm, with_normalization])
def test_data_of_another_scale_than_the_model_remembers_are_found(build, prepare, words):
    model = reestimate_batchnorm(made(build), DATA.train)

    found = unlike_training(model, [prepare(X)])

    assert (found is None) if words is None else (words in found)


def test_fractions_before_a_rescaling_of_bytes_are_found():
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, layers.Flatten()(layers.Rescaling(1 / 255, name="bytes")(inputs)))
    fractions = np.clip(np.abs(X), 0, 1)

    assert unlike_training(model, [np.round(255 * fractions)]) is None
    assert "bytes multiplies by 0.003922" in unlike_training(model, [fractions])


def test_a_model_that_was_never_trained_remembers_nothing():
    assert unlike_training(made(with_batchnorm), [X * 255]) is None


def test_the_report_of_an_int8_model_says_so():
    model = compiled(reestimate_batchnorm(made(with_batchnorm), DATA.train))
    wrong = Dataset.from_arrays(X * 255, *DATA.train.targets, X * 255, *DATA.train.targets)
    notes = {}
    for format in ("int8", "float32"):
        recipe = parse_recipe(f'[convert]\nformat = "{format}"', source="r", default_name="r")
        notes[format] = compress(model, recipe, wrong.training, objective_of(model, wrong)).report.notes

    assert "not what this model was trained with" in notes["int8"][0]
    assert notes["float32"] == ()
