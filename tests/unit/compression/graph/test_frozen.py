"""What has no rule is left alone, and it is said why."""

import keras
import pytest

from edgepress.compression.pruning.surgery import remove_channels
from support.channel_surgery import after, channels_in, frozen, some_of, then

layers = keras.layers
ops = keras.ops


class Custom(layers.Layer):
    def call(self, x):
        return x[:, ::-1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: then(), "output of the model"),
        (lambda: then(layers.ReLU()), "output of the model"),
        (lambda: then(layers.Conv2D(2, 1), activation="softmax"), "conv has the activation softmax"),
        (lambda: then(layers.Softmax(name="soft"), layers.Conv2D(2, 1)), "soft (Softmax) mixes channels"),
        (lambda: then(Custom(name="mine"), layers.Conv2D(2, 1)), "mine (Custom), for which there is no rule"),
        (lambda: then(layers.Lambda(lambda x: x, name="any"), layers.Conv2D(2, 1)), "any (Lambda)"),
        (lambda: then(layers.MaxPooling2D(data_format="channels_first", name="pool")), "pool (MaxPooling2D)"),
        (lambda: then(layers.BatchNormalization(axis=1), layers.Conv2D(2, 1)), "axis 1"),
        (lambda: then(layers.BatchNormalization(renorm=True, name="again"), layers.Conv2D(2, 1)), "again (BatchNorm"),
        (lambda: then(layers.LayerNormalization(axis=[1, 3]), layers.Conv2D(2, 1)), "axis [1, 3]"),
        (lambda: then(layers.Dense(5, lora_rank=2, name="adapted"), layers.Conv2D(2, 1)), "adapted (Dense), for which"),
        (lambda: then(layers.Dropout(0.1, (None, 1, 1, 8), name="drop"), layers.Conv2D(2, 1)), "drop (Dropout)"),
        (lambda: then(layers.Normalization(axis=1, name="rows"), layers.Conv2D(2, 1)), "rows (Normalization)"),
        (lambda: then(layers.Reshape((12, 8, 3), name="cut"), layers.Conv2D(2, 1), shape=(8, 8, 2)), "cut (Reshape)"),
        (lambda: then(layers.Permute((3, 1, 2), name="turn"), layers.Conv2D(2, 1)), "on an axis before the last"),
        (lambda: then(layers.Permute((3, 1, 2), name="turn")), "output of the model"),
        (lambda: then(lambda x: x[..., ::2], layers.Conv2D(2, 1)), "takes channels in steps of 2"),
        (lambda: then(lambda x: x[..., 3], layers.Dense(2)), "takes one of its channels"),
        (lambda: then(lambda x: ops.mean(x, axis=-1), layers.Dense(2)), "(Mean), for which there is no rule"),
        (
            lambda: then(layers.EinsumDense("ab...,bc->ac...", (3,), name="rows"), layers.Conv2D(2, 1)),
            "rows (EinsumDense)",
        ),
        (
            lambda: after(
                layers.Dense(8, name="conv"),
                lambda x: layers.MultiHeadAttention(2, 2, name="seen")(x, x, return_attention_scores=True),
                shape=(4, 3),
            ),
            "seen (MultiHeadAttention)",
        ),
    ],
)
def test_what_cannot_be_followed_is_left_alone_with_the_reason(model, reason):
    assert reason in frozen(model())["conv"]


def test_what_is_added_to_the_model_s_input_keeps_its_channels():
    inputs = keras.Input((6, 6, 4))
    joined = layers.Add()([inputs, layers.Conv2D(4, 1, name="conv")(inputs)])

    assert "input of the model" in frozen(keras.Model(inputs, layers.Conv2D(2, 1)(joined)))["conv"]


def test_channels_that_are_joined_with_positions_are_left_alone():
    inputs = keras.Input((8, 3))
    x = layers.Dense(8, name="dense")(inputs)

    joined = layers.Add()([x, layers.Permute((2, 1), name="turn")(x)])

    assert "turn (Permute) makes positions of it" in frozen(keras.Model(inputs, layers.Dense(2)(joined)))["dense"]


def test_a_layer_that_is_shared_by_a_call_without_a_rule_is_left_alone():
    inputs, state = keras.Input((5, 3)), keras.Input((4,))
    shared = layers.LSTM(4, name="shared")
    outputs = layers.Add()([shared(inputs), shared(inputs, initial_state=[state, state])])

    assert "shared" in frozen(keras.Model([inputs, state], layers.Dense(2)(outputs)))["shared"]


def test_a_layer_that_keras_has_quantized_is_left_alone():
    model = then(layers.Dense(5, name="eighth"), layers.Conv2D(2, 1))
    model.get_layer("eighth").quantize("int8")

    assert "eighth (Dense), for which there is no rule" in frozen(model)["conv"]


def test_a_layer_whose_activation_has_weights_is_left_alone():
    model = then(layers.Dense(5, activation=layers.PReLU(), name="bent"), layers.Conv2D(2, 1))
    model(keras.ops.zeros((1, 6, 6, 2)))  # which makes them

    assert "bent (Dense), for which there is no rule" in frozen(model)["conv"]


def test_a_number_for_each_sample_that_gets_an_axis_has_no_channels():
    inputs = keras.Input((4,))
    total = ops.sum(layers.Dense(8, name="dense")(inputs), axis=-1)
    joined = layers.Concatenate()([layers.Flatten()(total[:, None]), layers.Reshape((1,))(ops.expand_dims(total, -1))])

    assert "(Sum), for which there is no rule" in frozen(keras.Model(inputs, layers.Dense(2)(joined)))["dense"]


def test_what_lies_beside_a_frozen_normalization_is_pruned_and_proven():
    norm = layers.BatchNormalization(renorm=True)
    model = then(norm, layers.Conv2D(8, 1, name="free"), layers.Conv2D(2, 1))
    norm.moving_variance.assign(norm.moving_variance * 0 + 0.01)
    channels = channels_in(model)

    smaller = remove_channels(channels, some_of(channels), seed=0).model

    assert smaller.get_layer("free").filters == 4
    assert smaller.get_layer("conv").filters == 8
