import keras
import numpy as np
import pytest

from edgepress.compression.graph.channels import channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.importance import criterion_named
from edgepress.data import Dataset
from support.compress_models import blobs, compiled, context_for, made, randomised, residual_cnn

layers = keras.layers
DATA = blobs(32)


def scores(criterion, model, producer, data=DATA):
    channels = channels_of(read(model), rule_for)
    context = context_for(compiled(model), data)
    score = criterion_named(criterion, channels, model, context.data, context.objective)
    (group,) = (group for group in channels.groups if producer in group.producers)
    return score(group)


def test_by_activation_the_channel_that_its_readers_hear_least_of_matters_least():
    model = randomised(made(residual_cnn))
    norm = model.get_layer("wide_norm")
    norm.gamma.assign(np.full(16, 1.0))
    norm.beta.assign(np.where(np.arange(16) == 5, -50.0, 2.0))  # the ReLU behind it lets nothing of number 5 through
    behind = model.get_layer("depthwise_norm")
    for weight in (behind.beta, behind.moving_mean, model.get_layer("depthwise").bias):
        weight.assign(np.zeros(32))

    found = scores("activation", model, "wide")

    assert found.argmin() == 5
    assert found[5] == pytest.approx(0, abs=1e-6)
    assert found.mean() == pytest.approx(1)


def test_by_activation_a_channel_that_nobody_reads_is_judged_by_its_weights():
    inputs = keras.Input((8, 8, 2))
    left, right = (layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name=name)(inputs)) for name in ("a", "b"))
    model = keras.Model(inputs, layers.Softmax()(layers.Multiply()([left, right])))

    np.testing.assert_allclose(scores("activation", model, "a"), scores("l2", model, "a"))


@pytest.mark.parametrize("criterion", ["l1", "l2", "batchnorm-scale", "geometric-median", "taylor", "activation"])
def test_scores_of_groups_can_be_compared_since_their_mean_is_one(criterion):
    model = randomised(made(residual_cnn))
    head = model.get_layer("head")
    head.kernel.assign(np.asarray(head.kernel) * 100)

    for producer in ("stem", "wide", "head"):
        assert scores(criterion, model, producer).mean() == pytest.approx(1)


def test_taylor_does_not_take_a_penalty_on_weights_for_their_importance():
    plain, penalised = (made(residual_cnn) for _ in range(2))
    penalised.get_layer("head").kernel_regularizer = keras.regularizers.L2(10)

    np.testing.assert_allclose(scores("taylor", penalised, "head"), scores("taylor", plain, "head"), rtol=1e-3)


@pytest.mark.parametrize("criterion", ["taylor", "activation"])
def test_what_matters_only_to_a_class_at_the_end_of_a_sorted_file_matters(criterion):
    inputs = keras.Input((2,))
    hidden = layers.Dense(2, use_bias=False, name="hidden")(inputs)
    model = compiled(keras.Model(inputs, layers.Dense(2, activation="softmax", name="classes")(hidden)))
    for name in ("hidden", "classes"):
        model.get_layer(name).kernel.assign(0.1 * np.eye(2))
    classes = np.repeat([0, 1], [2200, 800])
    samples = (np.eye(2)[classes] * [1, 10]).astype(np.float32)
    data = Dataset.from_arrays(*(samples, classes) * 3)

    for_first, for_second = scores(criterion, model, "hidden", data)

    assert for_second > for_first


def norm(*kernels):
    """Of rows, divided by their mean."""
    sizes = np.sqrt(sum(np.square(kernel).sum(axis=1) for kernel in kernels))
    return sizes / sizes.mean()


def test_a_recurrent_unit_matters_by_what_it_hears_in_all_gates_and_not_by_its_biases():
    inputs = keras.Input((5, 3))
    model = randomised(keras.Model(inputs, layers.Dense(2)(layers.GRU(4, name="gru")(inputs))))
    kernel, recurrent, _ = (np.asarray(weight) for weight in model.get_layer("gru").weights)
    heard = [weights.reshape(-1, 3, 4).transpose(2, 0, 1).reshape(4, -1) for weights in (kernel, recurrent)]

    np.testing.assert_allclose(scores("l2", model, "gru"), norm(*heard), rtol=1e-5)


def test_a_head_of_keys_matters_by_all_heads_of_queries_that_it_answers():
    inputs = keras.Input((5, 8))
    attend = layers.GroupQueryAttention(3, 4, 2, name="attend")
    model = randomised(keras.Model(inputs, layers.Dense(2)(attend(inputs, inputs))))
    query, key, value, output = (
        np.asarray(dense.kernel)
        for dense in (attend._query_dense, attend._key_dense, attend._value_dense, attend._output_dense)
    )
    by_head = [weights.transpose(1, 0, 2).reshape(2, -1) for weights in (query, key, value)]

    channels = channels_of(read(model), rule_for)
    (group,) = (group for group in channels.groups if group.kinds == ("heads",))
    context = context_for(compiled(model), DATA)
    found = criterion_named("l2", channels, model, context.data, context.objective)(group)

    np.testing.assert_allclose(found, norm(*by_head, output.reshape(2, -1)), rtol=1e-5)


def test_what_is_heard_of_a_layer_that_the_model_calls_in_training_leaves_its_statistics_alone():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x, training=True)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))

    scores("activation", model, "conv")

    assert (np.asarray(model.get_layer("norm").moving_mean) == 0).all()
