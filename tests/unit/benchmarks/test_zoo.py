"""The zoo: twenty networks, and what is planted in them changes nothing in float."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from tasks.zoo import GATE, PREPROCESSING, ZOO, Subject

from edgepress.training.evaluate import predict
from edgepress.training.seeds import seeded

COMPUTED = [one for one in ZOO if one.plant is not None and one.planted != GATE]


def test_there_are_twenty_networks_of_five_planted_kinds_and_some_honest_ones() -> None:
    kinds = Counter(one.planted for one in ZOO)
    assert len({one.name for one in ZOO}) == sum(kinds.values()) == 20
    assert len(kinds) == 6
    assert min(kinds.values()) >= 3


@pytest.mark.parametrize("subject", COMPUTED, ids=lambda one: one.name)
def test_a_planted_network_computes_what_it_did(subject: Subject) -> None:
    pictures = np.random.default_rng(0).random((8, 24, 24, 1), np.float32)
    with seeded(0):
        model = subject.build()
    (before,) = predict(model, [pictures])
    assert subject.plant is not None
    subject.plant(model)
    (after,) = predict(model, [pictures])
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_layers_with_a_fault_are_layers_of_their_network() -> None:
    for subject in ZOO:
        if subject.planted in (None, PREPROCESSING):
            continue
        names = {layer.name for layer in subject.build().layers}
        assert set(subject.layers) <= names, subject.name
