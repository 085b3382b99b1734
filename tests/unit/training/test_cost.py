import keras
import numpy as np
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
        (layers.EinsumDense("abc,cd->abd", (3, 5)), (3, 7), 3 * 7 * 5),
        (layers.EinsumDense("...bc,cde->...bde", (3, 4, 5)), (2, 3, 7), 2 * 3 * 7 * 4 * 5),
        (layers.EinsumDense("ab...,bc->ac...", (5, 3, 2)), (7, 3, 2), 3 * 2 * 7 * 5),
        (layers.Embedding(10, 4), (7,), 0),
        (layers.LSTM(4), (5, 3), 5 * 4 * 4 * (3 + 4)),
        (layers.GRU(4, reset_after=False), (5, 3), 5 * 3 * 4 * (3 + 4)),
        (layers.Bidirectional(layers.SimpleRNN(4)), (5, 3), 2 * 5 * 4 * (3 + 4)),
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
    recurrent = layers.ConvLSTM1D(4, 1, name="recurrent")
    model = keras.Sequential([keras.Input((2, 5, 3)), recurrent, layers.Flatten(), layers.Dense(2)])

    cost = cost_of(model)

    assert (cost.uncounted, cost.macs) == (("recurrent",), 5 * 4 * 2)


def test_attention_costs_its_projections_and_every_pair_of_positions():
    inputs, memory = keras.Input((5, 6)), keras.Input((7, 8))
    attention = layers.MultiHeadAttention(2, key_dim=3, value_dim=4)

    cost = cost_of(keras.Model([inputs, memory], attention(inputs, memory)))

    projections = 2 * (5 * 6 * 3 + 7 * 8 * 3 + 7 * 8 * 4 + 5 * 4 * 6)
    assert cost.macs == projections + 2 * 5 * 7 * (3 + 4)


def test_a_model_that_leaves_sizes_open_is_counted_for_one_position_and_says_so():
    model = keras.Sequential([keras.Input((None, None, 2)), layers.Conv2D(6, 3)])

    cost = cost_of(model)

    assert (cost.macs, cost.has_open_sizes) == (9 * 2 * 6, True)
    assert not cost_of(residual_cnn()).has_open_sizes


def test_parameters_are_keras_own_count():
    model = residual_cnn()

    cost = cost_of(model)

    assert cost.parameters == model.count_params()
    assert cost.weight_bytes == 4 * cost.parameters


def test_attention_called_by_name_costs_what_it_costs_called_in_order():
    query, key, value = keras.Input((1, 8)), keras.Input((100, 8)), keras.Input((100, 8))
    attend = layers.MultiHeadAttention(2, 4)

    named = keras.Model([query, key, value], attend(value=value, key=key, query=query))
    ordered = keras.Model([query, key, value], attend(query, value, key))

    assert cost_of(named).macs == cost_of(ordered).macs


@pytest.mark.parametrize(
    ("product", "macs"),
    [
        (lambda a, b: layers.Attention()([a, b]), 5 * 7 * (4 + 4)),
        (lambda a, b: layers.AdditiveAttention()([a, b]), 5 * 7 * (4 + 4)),
        (lambda a, b: layers.Dot(axes=2)([a, b]), 5 * 7 * 4),
        (lambda a, b: keras.ops.matmul(a, keras.ops.transpose(b, (0, 2, 1))), 5 * 7 * 4),
        (lambda a, b: keras.ops.einsum("bid,bjd->bij", a, b), 5 * 7 * 4),
    ],
)
def test_a_product_of_two_tensors_costs_a_multiplication_for_each_pair(product, macs):
    a, b = keras.Input((5, 4)), keras.Input((7, 4))

    assert cost_of(keras.Model([a, b], product(a, b))).macs == macs


def test_products_are_counted_on_more_axes_and_with_a_constant_in_front():
    query, value, key = keras.Input((2, 5, 4)), keras.Input((2, 7, 3)), keras.Input((2, 7, 4))
    by_head = keras.Model([query, value, key], layers.Attention()([query, value, key]))
    inputs = keras.Input((5, 4))

    assert cost_of(by_head).macs == 2 * 5 * 7 * (4 + 3)
    assert cost_of(keras.Model(inputs, keras.ops.matmul(np.ones((3, 5), np.float32), inputs))).macs == 3 * 5 * 4
