import keras
import numpy as np

from edgepress.data import Split
from edgepress.training.batchnorm import reestimate_batchnorm

layers = keras.layers
GENERATOR = np.random.default_rng(0)
SAMPLES = GENERATOR.normal(3.0, 2.0, size=(700, 4)).astype(np.float32)  # three batches, the last one smaller
DATA = Split((SAMPLES,), (np.zeros(700),))


def normalised(**settings):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.BatchNormalization(name="norm", **settings)(inputs))


def test_statistics_are_exactly_those_of_the_data_whatever_the_momentum():
    model = reestimate_batchnorm(normalised(momentum=0.999), DATA)

    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, SAMPLES.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, SAMPLES.var(axis=0), rtol=1e-4)
    assert norm.momentum == 0.999


def test_the_model_given_is_not_changed():
    model = normalised()

    reestimate_batchnorm(model, DATA)

    assert np.all(np.asarray(model.get_layer("norm").moving_mean) == 0)


def test_a_frozen_layer_keeps_its_statistics():
    model = normalised()
    model.get_layer("norm").trainable = False

    frozen = reestimate_batchnorm(model, DATA).get_layer("norm")

    assert np.all(np.asarray(frozen.moving_mean) == 0)


def test_layers_further_down_see_what_the_first_one_gives():
    inputs = keras.Input((4,))
    x = layers.BatchNormalization()(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(name="second")(x * 3.0))

    second = reestimate_batchnorm(model, DATA).get_layer("second")

    np.testing.assert_allclose(second.moving_mean, 0, atol=1e-3)
    np.testing.assert_allclose(second.moving_variance, 9, rtol=0.02)


def test_data_sorted_by_class_give_the_statistics_that_inference_sees():
    classes = np.repeat(np.arange(4), 500)
    samples = (GENERATOR.normal(size=(2000, 4)) + 5.0 * np.eye(4)[classes]).astype(np.float32)
    inputs = keras.Input((4,))
    x = layers.ReLU()(layers.BatchNormalization()(inputs))
    model = keras.Model(inputs, layers.BatchNormalization(name="second")(x))

    estimated = reestimate_batchnorm(model, Split((samples,), (np.zeros(2000),)))

    second = estimated.get_layer("second")
    heard = np.asarray(keras.Model(estimated.inputs, second.input)([samples]))
    np.testing.assert_allclose(second.moving_mean, heard.mean(axis=0), rtol=0.02)
    np.testing.assert_allclose(second.moving_variance, heard.var(axis=0), rtol=0.03)


def test_a_layer_called_on_two_inputs_gets_the_statistics_of_both():
    one, other = keras.Input((4,)), keras.Input((4,))
    norm = layers.BatchNormalization(name="norm")
    model = keras.Model([one, other], [norm(one), norm(other)])

    shared = reestimate_batchnorm(model, Split((SAMPLES, -SAMPLES), (np.zeros(700),) * 2)).get_layer("norm")

    both = np.concatenate([SAMPLES, -SAMPLES])
    np.testing.assert_allclose(shared.moving_mean, both.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(shared.moving_variance, both.var(axis=0), rtol=1e-4)


def test_dropout_adds_no_variance_that_inference_does_not_see():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.BatchNormalization(name="norm")(layers.Dropout(0.5)(inputs)))

    norm = reestimate_batchnorm(model, DATA).get_layer("norm")

    np.testing.assert_allclose(norm.moving_variance, SAMPLES.var(axis=0), rtol=1e-4)
