"""Two models that must say the same are told from two that do not, and mistakes from rounding."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from edgepress.compression.graph.rebuild import in_double
from edgepress.compression.pruning.proof import TOLERANCE, logits, prove
from edgepress.errors import CompressionError
from support.compress_models import made, residual_cnn


def model_of(*steps) -> keras.Model:
    x = inputs = keras.Input((4,))
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def rounded(x):
    """The same number, to a quarter in float32."""
    return ops.subtract(ops.add(x, 3e6), 3e6)


class Float32Only(layers.Layer):
    def __init__(self, dtype=None, **settings):
        super().__init__(dtype="float32", **settings)

    def call(self, x):
        return rounded(ops.cast(x, "float32"))


def test_what_float32_rounds_differently_is_proven_in_float64():
    smaller, whole = model_of(rounded), model_of(lambda x: ops.multiply(x, 1.0))
    (given,), (wanted,) = (logits(model, [np.ones((2, 4), np.float32) / 3]) for model in (smaller, whole))
    assert np.abs(given - wanted).max() > TOLERANCE

    assert prove(smaller, whole) < 1e-8


def test_a_mistake_is_one_in_float64_too():
    with pytest.raises(CompressionError, match=r"differs by 0\.01 of the largest logit"):
        prove(model_of(lambda x: ops.multiply(x, 1.01)), model_of(lambda x: ops.multiply(x, 1.0)))


@pytest.mark.parametrize("squash", [layers.Softmax, lambda: layers.Activation("softmax"), lambda: ops.softmax])
@pytest.mark.parametrize(
    "behind", [[], [layers.Dropout(0.5), layers.Reshape((3, 1)), lambda x: ops.concatenate([x, x])]]
)
def test_no_softmax_hides_a_mistake_wherever_its_numbers_are_moved(squash, behind):
    smaller, whole = (
        model_of(lambda x, by=by: ops.multiply(x[:, :3], by), squash(), *behind) for by in (1010.0, 1000.0)
    )
    with pytest.raises(CompressionError, match=r"differs by 0\.01 of the largest logit"):
        prove(smaller, whole)
    assert float(np.max(whole(np.ones((1, 4))))) == pytest.approx(1 / 3)  # it squashes as before


def test_what_computes_in_float32_only_is_judged_by_that():
    with pytest.raises(CompressionError, match="of the largest logit"):
        prove(model_of(Float32Only()), model_of(lambda x: ops.multiply(x, 1.0)))


def test_each_output_behind_a_shared_softmax_is_compared_with_its_own_logits():
    def model(factor: float) -> keras.Model:
        inputs, softmax = keras.Input((4,)), layers.Softmax()
        return keras.Model(inputs, [softmax(ops.multiply(inputs, 1.0)), softmax(ops.multiply(inputs, factor))])

    with pytest.raises(CompressionError, match="of the largest logit"):
        prove(model(2.01), model(2.0))


def test_logits_are_those_before_a_softmax_with_a_mask():
    inputs, mask = keras.Input((4,)), keras.Input((4,), dtype="bool")
    model = keras.Model([inputs, mask], layers.Softmax()(ops.multiply(inputs, 2.0), mask=mask))

    (found,) = logits(model, [np.ones((1, 4), np.float32), np.ones((1, 4), bool)])

    assert (found == 2).all()


@pytest.mark.parametrize("squashing", [layers.Softmax(), layers.Activation("sigmoid"), ops.softmax, ops.sigmoid])
def test_logits_are_those_before_what_squashes_them(squashing):
    (found,) = logits(model_of(lambda x: ops.multiply(x, 2.0), squashing), [np.ones((1, 4), np.float32)])

    assert (found == 2).all()


def test_a_model_in_float64_has_the_same_layers_and_weights_and_computes_in_it():
    model = made(residual_cnn)
    double = in_double(model)
    assert [layer.name for layer in double.layers] == [layer.name for layer in model.layers]
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:]))
    answer = np.asarray(double(x))
    assert answer.dtype == np.float64
    np.testing.assert_allclose(answer, np.asarray(model(x)), rtol=1e-4, atol=1e-6)
