import keras
import pytest

from edgepress.training.cost import cost_of
from support.compress_models import residual_cnn

layers = keras.layers


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (layers.Dense(5), (7,), 7 * 5),
        (layers.Dense(5), (3, 7), 3 * 7 * 5),
        (layers.Conv2D(6, 3, padding="same"), (8, 8, 2), 8 * 8 * 9 * 2 * 6),
        (layers.Conv2D(6, 3, strides=2), (9, 9, 2), 4 * 4 * 9 * 2 * 6),
        (layers.Conv2D(6, 3, padding="same", groups=2), (8, 8, 2), 8 * 8 * 9 * 1 * 6),
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), (8, 8, 2), 8 * 8 * 9 * 2 * 2),
        (layers.SeparableConv2D(6, 3, padding="same"), (8, 8, 2), 8 * 8 * (9 * 2 + 2 * 6)),
        (layers.Conv2DTranspose(6, 3, strides=2), (4, 4, 2), 4 * 4 * 9 * 2 * 6),
        (layers.Conv1D(6, 3, padding="causal"), (10, 2), 10 * 3 * 2 * 6),
        (layers.ReLU(), (8, 8, 2), 0),
    ],
)
def test_macs_of_a_layer_follow_its_formula(layer, shape, macs):
    assert cost_of(keras.Sequential([keras.Input(shape), layer])).macs == macs


def test_a_shared_layer_costs_work_for_each_call_and_weights_once():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, use_bias=False)

    cost = cost_of(keras.Model(inputs, shared(shared(inputs))))

    assert (cost.parameters, cost.macs) == (16, 32)


def test_layers_without_a_rule_are_named():
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(4, name="recurrent"), layers.Dense(2)])

    cost = cost_of(model)

    assert (cost.uncounted, cost.macs) == (("recurrent",), 8)


def test_parameters_are_keras_own_count():
    model = residual_cnn()

    assert cost_of(model).parameters == model.count_params()
