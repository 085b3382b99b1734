import keras
import numpy as np
import pytest

from edgepress.compression.quantization.annotate import annotate, fake_quants
from edgepress.compression.quantization.ranges import set_ranges
from edgepress.errors import CompressionError


def passing():
    inputs = keras.Input((1000,), name="in")
    return annotate(keras.Model(inputs, keras.layers.Flatten()(inputs))).model


def ends(samples, method):
    layer = fake_quants(set_ranges(passing(), [samples.astype(np.float32)], method))["in_range"]
    return float(layer.minimum), float(layer.maximum)


NORMAL = np.random.default_rng(0).normal(size=(20, 1000))


def test_minmax_takes_all_that_it_saw():
    assert ends(NORMAL, "minmax") == (pytest.approx(NORMAL.min()), pytest.approx(NORMAL.max()))


def test_percentile_leaves_one_of_ten_thousand_outside_on_each_side():
    samples = np.random.default_rng(1).normal(size=(100, 1000))
    wanted = np.quantile(samples, [1e-4, 1 - 1e-4])
    samples[0, 0] = 30

    assert ends(samples, "percentile") == pytest.approx(wanted, abs=0.1)


def squared_error(samples, low, high):
    import tensorflow as tf

    rounded = tf.quantization.fake_quant_with_min_max_args(samples.astype(np.float32), low, high)
    return float(np.square(rounded.numpy() - samples).mean())


def test_mse_errs_least_where_few_values_are_far_out():
    samples = np.random.default_rng(0).standard_t(3, size=(20, 1000))

    errors = {method: squared_error(samples, *ends(samples, method)) for method in ("minmax", "percentile", "mse")}

    assert errors["mse"] <= 1.001 * min(errors.values())
    assert errors["mse"] < 0.96 * errors["minmax"]


def test_mse_leaves_a_tensor_alone_that_fills_its_range():
    uniform = np.random.default_rng(0).uniform(-1, 1, (20, 1000))

    assert ends(uniform, "mse") == (pytest.approx(-1, abs=0.03), pytest.approx(1, abs=0.03))


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_tensor_of_zeros_has_a_range_that_can_be_used(method):
    low, high = ends(np.zeros((4, 1000)), method)

    assert low == 0
    assert high > 0


def test_0_is_in_every_range():
    assert ends(NORMAL * 0.01 + 5, "minmax")[0] == 0


def test_nan_is_an_error_that_names_the_place():
    with pytest.raises(CompressionError, match="in_range"):
        ends(np.full((4, 1000), np.nan), "minmax")


def test_the_model_that_is_calibrated_is_left_as_it_was():
    model = passing()

    set_ranges(model, [NORMAL.astype(np.float32)])

    assert float(fake_quants(model)["in_range"].maximum) == 0
