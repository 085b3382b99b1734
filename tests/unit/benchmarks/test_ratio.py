"""The benchmark of file sizes, without its training: bytes do not depend on what weights say."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgepress.compression.compress import compress
from edgepress.compression.recipe import parse_recipe
from edgepress.conversion import convert_model
from edgepress_converters.options import ConversionOptions

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def ratio():
    """The script, imported as it runs: with the modules beside it."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import ratio

        yield ratio
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def test_networks_have_the_parameters_that_papers_give(ratio):
    counts = {net: build(28, 10).count_params() for net, build in ratio.LENETS.items()}
    assert counts["LeNet-300-100"] == 266_610  # Han et al. 2016, table 1: 267K
    assert counts["LeNet-5"] == 431_080  # the same: 431K
    assert 268_000 < counts["ResNet-20"] < 275_000  # He et al. 2016: 0.27M


def test_digits_are_enlarged_without_changing_what_is_even(ratio):
    even = np.full((1, 8, 8), 0.25)
    slope = np.broadcast_to(np.arange(8.0), (1, 8, 8))
    assert np.allclose(ratio.digits.enlarged(even), 0.25)
    wide = ratio.digits.enlarged(slope)[0, 0]
    assert (wide[0], wide[-1]) == (0, 7)
    assert (np.diff(wide) >= 0).all()


def test_splits_of_a_seed_are_the_same_and_of_another_are_not(ratio):
    first, again, other = (ratio.digits.load_digits_of(seed) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256


@pytest.mark.parametrize("net", ["LeNet-300-100", "LeNet-5"])
def test_the_recipe_makes_a_file_fifty_times_smaller(ratio, net, worker_pool, tmp_path):
    task = ratio.TASKS["digits"]
    untrained = ratio.recipe_of(net).replace('schedule = "gradual"\n', "")
    recipe = parse_recipe(untrained, source="the benchmark", default_name="small")
    steps = [step.model_copy(update={"epochs": 0}) for step in recipe.step if step.kind != "distill"]
    recipe = recipe.model_copy(update={"step": tuple(steps)})
    model, data = ratio.LENETS[net](task.side, task.classes), task.load(0).training
    before = convert_model(model, tmp_path / "before.tflite", ConversionOptions(), data.train.inputs, worker_pool)
    compressed = compress(model, recipe, data, task.objective, pool=worker_pool)
    after = convert_model(
        compressed.model, tmp_path / "after.tflite", compressed.conversion, data.train.inputs, worker_pool
    )
    assert before.size_bytes / after.size_bytes >= ratio.GOAL_RATIO
