"""The faults that planted_answers.py puts into files do what they are named after, and the output check sees them."""

import importlib
import sys
from pathlib import Path

import pytest

from edgepress.conversion import inspect
from edgepress.verification.goldens import goldens_of_file
from edgepress.verification.output_check import check_outputs
from edgepress.verification.reference import run_file

ROOT = Path(__file__).parents[3]
INT8 = ROOT / "tests" / "cases" / "models" / "conv_int8.tflite"


@pytest.fixture(scope="module")
def edits():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("planted_edits")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def known(worker_pool):
    """A file, and its right answers."""
    model = inspect(INT8)
    return model, goldens_of_file(model, worker_pool)


@pytest.mark.parametrize(
    "edit",
    [
        lambda edits, *file: edits.swap_channels(*file, 0, 0, 1),
        lambda edits, *file: edits.stale_weight_scale(*file, -1, 1.25),
        lambda edits, *file: edits.damage_weights(*file, -1, 0.5, 0),
        lambda edits, *file: edits.four_bits(*file),
    ],
    ids=["swapped channels", "stale scale", "damaged weights", "four bits"],
)
def test_each_fault_leaves_a_file_that_runs_and_answers_wrongly(edit, edits, known, worker_pool, tmp_path):
    model, goldens = known
    planted = edit(edits, model, tmp_path / "planted.tflite")
    check = check_outputs(goldens, model, run_file(planted, goldens.inputs, worker_pool))
    assert check.level == "wrong"


def test_channels_that_are_swapped_back_are_right_again(edits, known, worker_pool, tmp_path):
    model, goldens = known
    there = edits.swap_channels(model, tmp_path / "there.tflite", 0, 0, 1)
    back = edits.swap_channels(there, tmp_path / "back.tflite", 0, 0, 1)
    assert check_outputs(goldens, model, run_file(back, goldens.inputs, worker_pool)).level == "identical"
