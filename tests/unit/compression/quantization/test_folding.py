import keras
import numpy as np
import pytest
from hypothesis import given, settings

from edgepress.compression.graph.reader import read
from edgepress.compression.quantization.folding import fold_batchnorm
from edgepress.training.evaluate import predict
from support.compress_models import inputs_for, largest_difference, models, randomised

layers = keras.layers


def normalised(layer, shape=(6, 6, 4)):
    inputs = keras.Input(shape)
    return randomised(keras.Model(inputs, layers.BatchNormalization(name="norm")(layer(inputs))))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv1D(3, 3, use_bias=False), (9, 4)),
        (layers.Conv2D(6, 3, groups=2), (6, 6, 4)),
        (layers.Conv2DTranspose(3, 3, strides=2, use_bias=False), (6, 6, 4)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 4)),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 4)),
        (layers.SeparableConv2D(5, 3), (6, 6, 4)),
        (layers.SeparableConv1D(5, 3, use_bias=False), (9, 4)),
        (layers.Dense(5), (4,)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else "",
)
def test_a_layer_with_weights_takes_the_batchnorm_behind_it_in(layer, shape):
    model = normalised(layer, shape)

    folded = fold_batchnorm(model)

    assert folded.folded == {"norm": layer.name}
    assert "norm" not in read(folded.model).layers()
    assert largest_difference(model, folded.model) < 1e-5 * largest_output(model)


def largest_output(model):
    return max(float(np.abs(output).max()) for output in predict(model, inputs_for(model)))


def branching(inputs):
    x = layers.Conv2D(4, 3, name="read_twice")(inputs)
    return layers.Add()([layers.BatchNormalization(name="norm")(x), x])


def active(inputs):
    x = layers.Conv2D(4, 3, activation="relu", name="active")(inputs)
    return layers.BatchNormalization(name="norm")(x)


def shared(inputs):
    conv = layers.Conv2D(4, 3, padding="same", name="shared")
    return layers.BatchNormalization(name="norm")(conv(conv(inputs)))


def alone(inputs):
    return layers.BatchNormalization(name="norm")(layers.MaxPooling2D()(inputs))


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (branching, "others read read_twice"),
        (active, "active before it has an activation"),
        (shared, "shared before it is shared"),
        (alone, "MaxPooling2D before it has no weights"),
    ],
)
def test_where_nothing_can_take_it_in_it_stays(build, why):
    inputs = keras.Input((6, 6, 4))
    model = randomised(keras.Model(inputs, build(inputs)))

    folded = fold_batchnorm(model)

    ((layer, reason),) = [(skip.layer, skip.why) for skip in folded.left]
    assert (layer, folded.folded) == ("norm", {})
    assert why in reason
    assert largest_difference(model, folded.model) == 0


@settings(max_examples=6)
@given(models())
def test_folding_changes_no_output_of_any_graph(model):
    folded = fold_batchnorm(model)

    assert largest_difference(model, folded.model) <= 1e-5 * largest_output(model)
