"""How many directions a layer keeps, by each rule."""

import keras
import numpy as np
import pytest

from edgepress.compression.factorization.cp import Cp
from edgepress.compression.factorization.ranks import evbmf_rank, rank_by, ranks_within
from edgepress.compression.factorization.svd import Svd
from edgepress.compression.factorization.tucker import Tucker2
from edgepress.compression.graph.reader import read
from edgepress.compression.recipe import Rank
from support.compress_models import made

layers = keras.layers


def with_singular_values(values, size=10):
    """The decomposition of a square Dense layer that has these."""
    inputs = keras.Input((size,))
    model = made(lambda: keras.Model(inputs, layers.Dense(size, use_bias=False, name="it")(inputs)))
    u, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
    model.get_layer("it").set_weights([u[:, : len(values)] @ np.diag(values) @ u[:, : len(values)].T])
    graph = read(model)
    return Svd(graph, graph.calls("it")[0], None)


def convolution(channels=16, filters=16):
    inputs = keras.Input((8, 8, channels))
    model = made(lambda: keras.Model(inputs, layers.Conv2D(filters, 3, padding="same", name="it")(inputs)))
    graph = read(model)
    return Tucker2(graph, graph.calls("it")[0], None)


@pytest.mark.parametrize(
    ("rule", "rank"),
    [
        (Rank(fixed=3), 3),
        (Rank(fixed=99), 10),
        (Rank(ratio=0.5), 2),  # 0.5 * 10 * 10 / 20 = 2.5
        (Rank(ratio=0.01), 1),
        (Rank(energy=0.6), 1),  # squares 64, 16, 4, 1 of 85
        (Rank(energy=0.94), 2),
        (Rank(energy=0.95), 3),
        (Rank(energy=0.999), 4),
    ],
)
def test_rank_follows_the_rule_asked_for(rule, rank):
    assert rank_by(with_singular_values([8.0, 4.0, 2.0, 1.0]), rule) == (rank,)


def test_a_kernel_of_zeros_gets_rank_one():
    assert rank_by(with_singular_values([0.0]), Rank(energy=0.9)) == (1,)


def test_two_ranks_grow_by_what_is_worth_most_and_share_the_loss():
    tucker = convolution()
    inputs, outputs = rank_by(tucker, Rank(energy=0.7))

    assert tucker.path[0] == (1, 1)
    assert tucker.path[-1] == tucker.full == (16, 16)
    assert all(sum(later) == sum(earlier) + 1 for earlier, later in zip(tucker.path, tucker.path[1:], strict=False))
    tails = [
        values[rank:].sum() / values.sum() for values, rank in zip(tucker.eigenvalues, (inputs, outputs), strict=True)
    ]
    assert tucker.lost((inputs, outputs)) == pytest.approx(sum(tails))
    assert sum(tails) <= 0.3 < tucker.lost(tucker.path[tucker.path.index((inputs, outputs)) - 1])


def test_what_is_lost_of_a_kernel_is_at_most_what_the_ranks_say():
    tucker = convolution()
    kernel = np.asarray(tucker.layer.kernel)
    for ranks in ((12, 14), (8, 8), (4, 10)):
        first, core, last = (new.weights[0] for new in tucker.layers(ranks))
        rebuilt = np.einsum("abij,hwjk,abkl->hwil", first, core, last)
        assert np.sum((kernel - rebuilt) ** 2) / np.sum(kernel**2) <= tucker.lost(ranks) + 1e-6


def test_ranks_of_cp_are_fitted_and_what_others_lose_is_interpolated():
    inputs = keras.Input((8, 8, 16))
    model = made(lambda: keras.Model(inputs, layers.Conv2D(16, 3, padding="same", name="it")(inputs)))
    graph = read(model)
    cp = Cp(graph, graph.calls("it")[0], None)

    assert cp.path[-2:] == ((56,), (57,))  # 2304 / (16 + 9 + 16) = 56.2
    assert cp.full == (144,)
    assert list(cp.losses) == sorted(cp.losses, reverse=True)
    for ranks in ((8,), (30,)):
        first, core, last = (new.weights[0] for new in cp.layers(ranks))
        kernel = np.asarray(cp.layer.kernel)
        lost = np.sum((np.einsum("abir,hwrc,abro->hwio", first, core, last) - kernel) ** 2) / np.sum(kernel**2)
        assert lost == pytest.approx(cp.lost(ranks), abs=1e-4)
        assert lost == pytest.approx(cp.losses[cp.path.index(ranks)], abs=0.05)


def test_evbmf_finds_the_rank_of_a_matrix_under_noise():
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(60, 12)) @ generator.normal(size=(12, 400)) + generator.normal(size=(60, 400))

    assert evbmf_rank(matrix) == evbmf_rank(matrix.T) == 12


@pytest.mark.parametrize(("size", "rank"), [(64, 8), (9, 7), (1, 1)])
def test_evbmf_is_held_between_eight_and_four_fifths_where_there_is_only_noise(size, rank):
    assert evbmf_rank(np.random.default_rng(0).normal(size=(size, 3 * size))) == rank


def test_a_budget_goes_to_the_layers_that_lose_least_by_it():
    flat, steep = with_singular_values(np.ones(10)), with_singular_values(2.0 ** -np.arange(10))
    ranks, met = ranks_within({"flat": flat, "steep": steep}, 140, "parameters")

    assert met
    assert ranks["flat"] is None
    assert ranks["steep"] == (2,)  # 100 + 2 * (10 + 10)


def test_a_budget_out_of_reach_is_missed_by_as_little_as_possible():
    ranks, met = ranks_within({"it": with_singular_values(np.ones(10))}, 10, "macs")

    assert (ranks, met) == ({"it": (1,)}, False)


def test_a_budget_that_is_met_already_leaves_all_layers_whole():
    assert ranks_within({"it": with_singular_values(np.ones(10))}, 100, "parameters") == ({"it": None}, True)
