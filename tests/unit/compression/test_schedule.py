import re
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgepress.compression.pruning.schedule import cubic, rounds_of
from edgepress.compression.recipe import PruneStep


def step(**settings):
    return PruneStep(kind="prune", structure="filters", **{"sparsity": 0.8, "schedule": "gradual", **settings})


def test_the_cubic_prunes_most_at_first_and_ends_at_the_sparsity_asked_for():
    shares = [cubic(0.8, progress) for progress in (0, 0.25, 0.5, 0.75, 1)]

    assert shares[0] == 0
    assert shares[-1] == 0.8
    gains = [after - before for before, after in pairwise(shares)]
    assert gains == sorted(gains, reverse=True)


@pytest.mark.parametrize("progress", [-1, 0])
def test_before_its_beginning_nothing_is_pruned(progress):
    assert cubic(0.8, progress) == 0
    assert cubic(0.8, 2) == 0.8


def test_at_once_is_one_round_with_all_epochs():
    (only,) = rounds_of(step(schedule="one-shot", epochs=7))

    assert (only.sparsity, only.epochs, only.label) == (0.8, 7, "")


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"epochs": 8}, [2, 2, 4]),  # by default three rounds in the first half
        ({"epochs": 8, "end": 1.0}, [4, 4, 0]),
        ({"epochs": 10, "begin": 0.2, "end": 0.8, "rounds": 4}, [2, 2, 2, 2, 2]),
        ({"epochs": 3}, [1, 1, 1]),
    ],
)
def test_rounds_share_the_epochs_between_begin_and_end(settings, epochs):
    rounds = rounds_of(step(**settings))

    assert [one.epochs for one in rounds] == epochs
    assert sum(epochs) == settings["epochs"]
    assert rounds[-1].sparsity == 0.8
    assert rounds[0].sparsity == (0 if "begin" in settings else pytest.approx(cubic(0.8, 1 / 3)))


@given(st.floats(0, 0.98), st.floats(0.02, 1), st.integers(2, 8), st.integers(1, 60))
def test_rounds_between_which_no_epoch_lies_are_refused_with_a_number_that_is_enough(begin, end, rounds, epochs):
    assume(end - begin > 0.01)
    settings = {"begin": begin, "end": end, "rounds": rounds}
    try:
        planned = rounds_of(step(epochs=epochs, **settings))
    except ValidationError as error:
        (enough,) = re.findall(r"(\d+) epochs are enough", str(error))
        assert int(enough) > epochs
        planned = rounds_of(step(epochs=int(enough), **settings))

    assert all(one.epochs for one in planned[:-1])
