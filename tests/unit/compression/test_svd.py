import keras
import numpy as np
import pytest

from edgepress.compression.factorization.svd import factorize_dense, factors, rank_for
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import rebuild
from edgepress.compression.recipe import FactorizeStep, Rank
from support.compress_models import blobs, compiled, context_for, largest_difference, made, randomised, residual_cnn

layers = keras.layers


def test_full_rank_reproduces_the_model():
    model = randomised(made(residual_cnn))
    features = model.get_layer("features")

    factorized = rebuild(read(model), {"features": factors(features, 24, "features_low_rank")})

    assert largest_difference(model, factorized) < 1e-4


def test_bias_and_activation_stay_on_the_second_layer():
    model = randomised(made(residual_cnn))
    factorized = rebuild(read(model), {"features": factors(model.get_layer("features"), 5, "features_low_rank")})

    first, second = factorized.get_layer("features_low_rank"), factorized.get_layer("features")
    assert (first.units, first.use_bias, first.activation.__name__) == (5, False, "linear")
    assert (second.units, second.activation.__name__) == (24, "relu")
    np.testing.assert_array_equal(second.bias, model.get_layer("features").bias)


def test_a_dense_layer_on_sequences_is_factorized_along_its_last_axis():
    inputs = keras.Input((5, 12))
    model = randomised(made(lambda: keras.Model(inputs, layers.Dense(12, name="dense")(inputs))))

    factorized = rebuild(read(model), {"dense": factors(model.get_layer("dense"), 12, "low")})

    assert largest_difference(model, factorized) < 1e-4


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (Rank(fixed=3), 3),
        (Rank(fixed=99), 4),
        (Rank(ratio=0.5), 2),  # 0.5 * 10 * 10 / 20 = 2.5
        (Rank(ratio=0.01), 1),
        (Rank(energy=0.6), 1),  # squares 64, 16, 4, 1 of 85
        (Rank(energy=0.94), 2),
        (Rank(energy=0.95), 3),
        (Rank(energy=0.999), 4),
    ],
)
def test_rank_follows_the_rule_asked_for(rank, expected):
    assert rank_for(np.array([8.0, 4.0, 2.0, 1.0]), 10, 10, rank) == expected


def test_a_kernel_of_zeros_gets_rank_one():
    assert rank_for(np.zeros(4), 10, 10, Rank(energy=0.9)) == 1


def test_the_step_factorizes_what_shrinks_and_says_what_does_not():
    dataset = blobs()
    model = compiled(made(residual_cnn))
    settings = FactorizeStep(kind="factorize", rank=Rank(fixed=4), epochs=1)

    outcome = factorize_dense(model, settings, context_for(model, dataset))

    skipped = {skip.layer: skip.why for skip in outcome.skipped}
    assert [(change.layer, change.what) for change in outcome.changed] == [("features", "256 x 24 -> 256 x 4 x 24")]
    assert "rank 3 of 24 x 3 would not shrink it" in skipped["classes"]
    assert "Conv2D" in skipped["stem"]
    assert outcome.choices == {"ranks": {"features": 4}}
    assert outcome.model.count_params() == model.count_params() - 256 * 24 + 4 * (256 + 24)


def test_a_shared_dense_layer_is_factorized_once():
    inputs = keras.Input((16,))
    dense = layers.Dense(16, name="shared")
    model = made(lambda: keras.Model(inputs, dense(dense(inputs))))

    factorized = rebuild(read(model), {"shared": factors(dense, 16, "shared_low_rank")})

    assert len(read(factorized).calls("shared_low_rank")) == 2
    assert largest_difference(model, factorized) < 1e-4


def test_a_frozen_dense_layer_stays_frozen_in_both_its_factors():
    layer = keras.layers.Dense(8, trainable=False)
    layer.build((None, 8))

    assert [new.layer.trainable for new in factors(layer, 2, "first")] == [False, False]
