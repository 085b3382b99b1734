"""The generated task that later numbers rest on, and the networks for it."""

import importlib
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from edgepress.compression.graph.channels import channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.removal import kept_count
from edgepress.data.fingerprint import sha256_of_arrays
from edgepress.training.cost import cost_of

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
FIRST_PICTURES = "fbd73d835973f1d95649230b5d9e65c8d35a996f6e3da691f63d378d81009b81"


@pytest.fixture(scope="module")
def tasks():
    """The package ``benchmarks/tasks``, imported as the scripts beside it do."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        importlib.import_module("tasks.nets")
        yield sys.modules["tasks"]
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in [name for name in sys.modules if name.partition(".")[0] == "tasks"]:
            del sys.modules[name]


@pytest.fixture
def small(tasks, monkeypatch, tmp_path):
    """The task with one chunk of pictures in each split, kept in a folder of the test."""
    strokes = tasks.strokes
    monkeypatch.setattr(strokes, "COUNTS", dict.fromkeys(strokes.COUNTS, 250))
    monkeypatch.setattr(strokes, "_file", lambda: tmp_path / "cache" / "strokes.npz")
    monkeypatch.setattr(strokes, "SHA256", sha256_of_arrays(strokes.make_arrays().values()))
    return strokes


def test_this_machine_draws_the_pictures_that_all_others_draw(small):
    assert small.SHA256 == FIRST_PICTURES


def test_letters_reach_all_sides_and_any_two_ways_to_write_differ_in_half_of_their_strokes(tasks):
    ways = tasks.strokes.alphabet()

    written = [frozenset(frozenset(map(tuple, ends)) for ends in pairwise(way)) for letter in ways for way in letter]
    assert all(len(first ^ second) >= 4 for first, second in combinations(written, 2))
    assert (ways.min(axis=2) == -1).all()
    assert (ways.max(axis=2) == 1).all()


def test_splits_share_no_picture_and_hold_all_letters(small):
    dataset = small.load_task()
    splits = [dataset.train, dataset.val, dataset.held_out.open("a test")]

    pictures = np.concatenate([split.inputs[0] for split in splits])
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == 750
    assert pictures.dtype == np.float32
    assert (pictures.min(), pictures.max()) == (0, 1)
    for split in splits:
        assert set(split.targets[0]) == set(range(16))


def test_a_kept_task_is_not_drawn_again_unless_its_file_is_damaged(small, monkeypatch):
    drawn = []
    draw = small.make_arrays
    monkeypatch.setattr(small, "make_arrays", lambda: drawn.append(1) or draw())
    first = small.load_task()
    again = small.load_task()
    small._file().write_bytes(small._file().read_bytes()[:1000])
    mended = small.load_task()

    assert len(drawn) == 2
    assert first.sha256 == again.sha256 == mended.sha256


def test_other_pictures_than_those_of_the_version_are_refused(small, monkeypatch):
    monkeypatch.setattr(small, "SHA256", "0" * 64)

    with pytest.raises(RuntimeError, match="have the sha256"):
        small.load_task()


@pytest.mark.parametrize("name", ["residual", "mobilenet"])
def test_a_narrow_network_has_the_channels_that_pruning_leaves_of_the_whole_one(tasks, name):
    build = tasks.nets.NETS[name]
    whole, narrow = build(1.0), build(0.7)
    channels = channels_of(read(whole), rule_for)

    for group in channels.groups:
        if group.frozen is None:
            left = kept_count(len(group.atoms), 1 - 0.7, 4)
            assert {narrow.get_layer(producer).filters for producer in group.producers} == {left}
    assert cost_of(whole).macs < 4_000_000
