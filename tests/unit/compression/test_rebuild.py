import keras
import numpy as np
import pytest
from hypothesis import given, settings

from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import NewLayer, copy_of, rebuild, reconfigured
from edgepress.errors import CompressionError
from support.compress_models import largest_difference, made, models, randomised, residual_cnn

layers = keras.layers


@settings(max_examples=15)
@given(models())
def test_a_model_rebuilt_without_replacements_computes_the_same(model):
    copy = copy_of(model)

    assert largest_difference(model, copy) == 0
    assert list(read(copy).layers()) == list(read(model).layers())
    assert copy.count_params() == model.count_params()


def test_a_copy_shares_nothing_with_its_original():
    model = made(residual_cnn)
    before = [weight.copy() for weight in model.get_weights()]
    copy = copy_of(model)

    copy.set_weights([weight + 1 for weight in copy.get_weights()])

    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert len(model.get_layer("stem")._inbound_nodes) == 1


def test_one_layer_can_become_several():
    model = randomised(made(residual_cnn))
    features = model.get_layer("features")
    identity = NewLayer(layers.Dense(24, use_bias=False, name="more"), [np.eye(24, dtype=np.float32)])

    rebuilt = rebuild(read(model), {"features": [NewLayer(reconfigured(features), features.get_weights()), identity]})

    assert "more" in [layer.name for layer in rebuilt.layers]
    assert largest_difference(model, rebuilt) < 1e-6


def test_arguments_that_the_new_layer_does_not_know_are_dropped():
    model = made(residual_cnn)  # a BatchNormalization is called with mask=None

    rebuilt = rebuild(read(model), {"wide_norm": [NewLayer(layers.Identity(name="wide_norm"))]})

    assert isinstance(rebuilt.get_layer("wide_norm"), layers.Identity)


def test_a_shared_layer_is_replaced_once_and_stays_shared():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="shared")
    model = keras.Model(inputs, dense(dense(inputs)))

    rebuilt = rebuild(read(model), {"shared": [NewLayer(reconfigured(dense, activation="relu"), dense.get_weights())]})

    assert len(read(rebuilt).calls("shared")) == 2
    assert rebuilt.count_params() == model.count_params()


def test_a_replacement_that_does_not_fit_its_consumer_names_that_layer():
    model = made(residual_cnn)
    narrower = [NewLayer(reconfigured(model.get_layer("project"), filters=7))]

    with pytest.raises(CompressionError, match="layer 'add'"):
        rebuild(read(model), {"project": narrower})


class Nameless(layers.Layer):
    """A class as people write them: its configuration is made by Keras, and has no name."""

    def __init__(self, factor, **others):
        super().__init__(**others)
        self.factor = factor

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones")

    def call(self, x):
        return x * self.factor * self.scale


def test_a_layer_keeps_its_name_though_its_configuration_has_none():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Nameless(3.0)(Nameless(2.0)(inputs)))

    assert list(read(copy_of(model)).layers()) == list(read(model).layers())


def test_a_layer_that_cannot_be_made_anew_is_named():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Lambda(lambda x: 2 * x, name="doubled")(inputs))

    with pytest.raises(CompressionError, match=r"layer 'doubled' \(Lambda\) cannot be made anew"):
        copy_of(model)


def test_a_name_that_is_not_in_the_model_is_an_error():
    with pytest.raises(CompressionError, match="nowhere"):
        rebuild(read(made(residual_cnn)), {"nowhere": [NewLayer(layers.Identity())]})


def test_masks_of_embeddings_survive():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, layers.LSTM(3)(x))
    data = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 5, 6, 7, 8]])

    np.testing.assert_array_equal(copy_of(model)(data), model(data))


def test_dropout_is_active_in_training_only():
    inputs = keras.Input((64,))
    copy = copy_of(keras.Model(inputs, layers.Dropout(0.5)(inputs)))
    ones = np.ones((1, 64), np.float32)

    assert np.asarray(copy(ones, training=True)).min() == 0
    assert np.asarray(copy(ones)).min() == 1
