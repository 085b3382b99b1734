import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgepress.compression.graph.channels import channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.training.cost import cost_of

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits():
    spec = importlib.util.spec_from_file_location("digits_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_splits_share_no_sample(digits):
    arrays = digits.make_arrays()
    pictures = np.concatenate([arrays[f"x_{split}"] for split in ("train", "val", "test")])

    assert [len(arrays[f"x_{split}"]) for split in ("train", "val", "test")] == [1000, 297, 500]
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == len(pictures)


def test_the_network_has_every_structure_that_recipes_work_on(digits):
    model = digits.make_model()
    groups = channels_of(read(model), rule_for).groups
    kinds = {type(layer).__name__ for layer in model.layers}

    assert {"block1_wide", "block2_expand", "head"} <= {group.producers[0] for group in groups if not group.frozen}
    assert {"Add", "BatchNormalization", "DepthwiseConv2D", "Dense"} <= kinds
    assert 50_000 < cost_of(model).parameters < 150_000
