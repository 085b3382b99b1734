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
