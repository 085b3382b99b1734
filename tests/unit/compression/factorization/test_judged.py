"""The largest rank that a device runs faster."""

import keras
import pytest

from edgepress.compression.factorization.judged import candidates, fastest
from edgepress.compression.factorization.step import decomposition_of, factorize
from edgepress.compression.graph.reader import read
from edgepress.compression.recipe import FactorizeStep, Rank
from edgepress.compression.steps import Judge
from edgepress.errors import DeviceError
from support.compress_models import blobs, compiled, context_for, made
from support.table_rows import run_report

layers = keras.layers

FASTER = FactorizeStep(kind="factorize", rank=Rank(faster=True), epochs=0)


def net():
    """Two Dense layers of one shape, and one that no rank makes smaller."""
    inputs = keras.Input((64,))
    x = layers.Dense(64, activation="relu", name="first")(inputs)
    x = layers.Dense(64, activation="relu", name="second")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x))


def decompositions(model):
    graph = read(model)
    return {
        name: decomposition_of(graph, name, "svd")(graph, graph.calls(name)[0], None)
        for name in graph.layers()
        if "in" not in name
    }


def board(times_ns, asked=None, multiple=8):
    """A judge that finds these medians, in the order of the files."""

    def measure(files):
        if asked is not None:
            asked.extend(file.size_bytes for file in files)
        return tuple(run_report([[ns + number for number in range(40)]] * 10) for ns in times_ns)

    return Judge("board", measure, lambda _: multiple)


def factorized(worker_pool, judge):
    model = compiled(made(net))
    return factorize(model, FASTER, context_for(model, blobs(shape=(64,)), judge=judge, pool=worker_pool))


def test_the_largest_rank_that_is_measured_faster_is_taken_for_all_layers_of_one_shape(worker_pool):
    asked = []
    outcome = factorized(worker_pool, board([100_000, 120_000, 80_000, 50_000], asked))

    assert len(asked) == 4  # whole, and at ranks 24, 16 and 8
    assert asked[0] > asked[1] > asked[2] > asked[3]
    assert outcome.choices["ranks"] == {"first": [16], "second": [16]}
    assert "measured 0.80 of its latency" in outcome.changed[0].what
    assert outcome.notes[-1] == "ranks chosen by what board measured, layer by layer"
    assert {skip.layer: skip.why for skip in outcome.skipped} == {"classes": "no rank of it multiplies less"}


def test_a_layer_that_gains_nothing_is_left_whole_and_the_report_says_so(worker_pool):
    outcome = factorized(worker_pool, board([100_000, 120_000, 110_000, 105_000]))

    assert outcome.changed == ()
    assert outcome.choices["ranks"] == {}
    said = {skip.layer: skip.why for skip in outcome.skipped}["first"]
    assert said == "not faster on the device: at rank 8, the smallest tried, it takes 1.05 of its latency"


def test_without_a_device_ranks_halve_the_multiplications():
    model = compiled(made(net))
    outcome = factorize(model, FASTER, context_for(model, blobs(shape=(64,))))

    assert outcome.choices["ranks"] == {"first": [16], "second": [16]}
    assert outcome.notes[-1] == "ranks halve the multiplications, not measured: no device was named"


def test_a_device_that_cannot_say_is_as_none(worker_pool):
    def fails(_):
        raise DeviceError("the board is emulated", "board")

    outcome = factorized(worker_pool, Judge("board", fails))

    assert outcome.choices["ranks"] == {"first": [16], "second": [16]}
    assert outcome.notes[-1] == "ranks halve the multiplications, not measured: the board is emulated"


@pytest.mark.parametrize(("multiple", "ranks"), [(8, [(24,), (16,), (8,)]), (16, [(16,)]), (32, [])])
def test_ranks_that_are_tried_are_multiples_of_what_the_kernels_like(multiple, ranks):
    assert list(candidates(decompositions(made(net))["first"], multiple)) == ranks


def test_a_table_is_looked_up_and_cannot_become_faster():
    inputs = keras.Input((4,))
    model = made(lambda: keras.Model(inputs, layers.Embedding(100, 16, name="words")(inputs)))
    table = {"words": decompositions(model)["words"]}

    choices, _ = fastest(table, context_for(compiled(made(net)), blobs(shape=(64,))))

    assert choices["words"] == (None, "no rank halves its multiplications")
