import keras
import pytest

from edgepress.compression.graph.liveness import peak_activation_bytes
from edgepress.compression.graph.reader import read
from support.channel_surgery import after

layers = keras.layers


def peak(model):
    """In float32 numbers."""
    return peak_activation_bytes(read(model)) / 4


@pytest.mark.parametrize(
    ("following", "numbers"),
    [
        ([layers.Dense(3)], 10 + 3),
        ([layers.Dense(30), layers.Dense(20)], 10 + 30 + 20),  # the input stays to the end
        ([layers.Dense(30), layers.Dense(20), layers.Dense(5)], 10 + 30 + 20),  # the first is gone before the last
        ([layers.Dense(30), layers.BatchNormalization(), layers.ReLU()], 10 + 30),  # folded into the first
        ([layers.Dense(30), layers.Activation("relu")], 10 + 30),
        ([layers.Dense(30), layers.Activation("silu")], 10 + 30 + 30),
        ([layers.Dense(30, activation="silu")], 10 + 30 + 30),
        ([layers.Dense(90), layers.Dense(30, activation="silu")], 10 + 90 + 30),  # gone before the activation
        ([layers.Reshape((5, 2)), layers.Flatten(), layers.Dense(3)], 10 + 3),  # no tensors of their own
        ([layers.ReLU()], 10 + 10),  # not over the model's input
    ],
)
def test_a_chain_needs_what_goes_in_and_what_comes_out(following, numbers):
    assert peak(after(*following, shape=(10,))) == numbers


def test_a_shortcut_is_kept_for_as_long_as_the_branch_runs():
    inputs = keras.Input((10,))
    x = layers.Dense(20)(inputs)
    branch = layers.ReLU()(layers.Dense(40)(x))

    assert peak(keras.Model(inputs, layers.Add()([x, layers.Dense(20)(branch)]))) == 10 + 20 + 40 + 20


def test_an_activation_of_what_others_read_is_a_tensor_of_its_own():
    inputs = keras.Input((10,))
    x = layers.Dense(20)(inputs)

    assert peak(keras.Model(inputs, layers.Add()([x, layers.ReLU()(x)]))) == 10 + 3 * 20


def test_sizes_that_are_left_open_count_as_one():
    assert peak(after(layers.Conv2D(4, 1), shape=(None, None, 3))) == 3 + 4


@pytest.mark.parametrize(
    ("padding", "numbers"), [(((0, 1), (0, 1)), 8 * 8 + 4 * 4 * 5), (1, 8 * 8 + 10 * 10 + 4 * 4 * 5)]
)
def test_padding_that_a_convolution_can_do_itself_is_no_tensor(padding, numbers):
    following = [layers.ZeroPadding2D(padding), layers.Conv2D(5, 3, strides=2)]

    assert peak(after(*following, shape=(8, 8, 1))) == numbers


def test_a_separable_convolution_has_the_tensor_between_its_two_kernels():
    inputs = keras.Input((4, 4, 8))
    x = layers.Conv2D(6, 1, name="before")(inputs)
    x = layers.SeparableConv2D(2, 3, padding="same", depth_multiplier=3)(x)

    assert peak(keras.Model(inputs, x)) == 16 * (8 + 6 + 18)  # input, what is read, three times as much of it


def test_attention_has_its_scores_twice_while_their_softmax_is_taken():
    inputs = keras.Input((50, 4))
    x = layers.Dense(6)(inputs)

    assert peak(keras.Model(inputs, layers.MultiHeadAttention(2, 3, 1)(x, x))) == 50 * 4 + 50 * 2 + 2 * 2 * 50 * 50
