"""Which of two files is kept: the one with zeros in it, or the one without."""

import json

import keras
import numpy as np
import pytest

from edgepress.artifacts import Source, make_artifact
from edgepress.compression.pruning.magnitude import magnitude_masks, prunable_kernels
from edgepress.compression.pruning.weights import with_zeros
from edgepress.compression.recipe import parse_recipe
from edgepress.compression.steps import Judge
from edgepress.conversion import convert_model
from edgepress.errors import ConversionError, JobError
from edgepress.progress import Silent
from edgepress.sparse import convert_if_faster
from edgepress_converters.options import ConversionOptions
from support.compress_models import blobs, compiled, made
from support.table_rows import run_report

INPUTS = (np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32),)


def net():
    return keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(64, activation="relu", name="wide"), keras.layers.Dense(3, name="last")]
    )


def pruned(block=4):
    kernels, _ = prunable_kernels(made(net), block)
    return with_zeros(made(net), magnitude_masks(kernels, 0.9, "local", block))


def timing(dense_ns, sparse_ns, asked=None):
    """A judge that finds these medians."""

    def measure(files):
        if asked is not None:
            asked.extend(files)
        return tuple(run_report([[ns + number for number in range(40)]] * 10) for ns in (dense_ns, sparse_ns))

    return Judge("board", measure)


def converted(tmp_path, pool, judge, model=None, format="float32"):
    options = ConversionOptions(format)
    return convert_if_faster(model or pruned(), tmp_path / "model.tflite", options, INPUTS, INPUTS, pool, judge)


def test_zeros_are_left_out_where_the_device_is_faster_without_them(tmp_path, worker_pool):
    asked = []

    file, options, why = converted(tmp_path, worker_pool, timing(100_000, 50_000, asked))

    dense, sparse = asked
    assert sparse.size_bytes < 0.6 * dense.size_bytes
    assert (file.sha256, options.sparse) == (sparse.sha256, True)
    assert why.startswith("zeros are left out of the file, measured: without them 0.50 of the latency")
    assert f"{sparse.size_bytes:,} instead of {dense.size_bytes:,} bytes" in why
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@pytest.mark.parametrize(("sparse_ns", "claim"), [(120_000, "slower"), (100_500, "no difference shown")])
def test_zeros_are_written_where_leaving_them_out_is_not_shown_to_pay(sparse_ns, claim, tmp_path, worker_pool):
    file, options, why = converted(tmp_path, worker_pool, timing(100_000, sparse_ns))

    assert not options.sparse
    assert why.startswith(f"zeros are written into the file, {claim}: without them 1.")
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert worker_pool.run(file, INPUTS)[0].shape == (4, 3)


def test_without_a_device_nothing_is_measured_and_zeros_are_written(tmp_path, worker_pool):
    _, options, why = converted(tmp_path, worker_pool, None)

    assert (options.sparse, why) == (False, "zeros are written into the file: not measured, no device was named")


def test_what_cannot_be_faster_is_not_asked(tmp_path, worker_pool):
    asked = []

    _, _, why = converted(tmp_path, worker_pool, timing(2, 1, asked), pruned(block=1))

    assert asked == []
    assert why.startswith("zeros are written into the file: no Dense layer has 30% of zeros in blocks of 4")


def test_a_device_that_cannot_say_leaves_the_zeros_in_and_the_reason_in_the_report(tmp_path, worker_pool):
    def measure(files):
        raise JobError("board: no process of model 12ab finished", "board")

    _, options, why = converted(tmp_path, worker_pool, Judge("board", measure))

    assert not options.sparse
    assert why.endswith("since that without them cannot be used: board: no process of model 12ab finished")


def test_a_file_that_answers_otherwise_without_zeros_is_not_asked_about(tmp_path, worker_pool, monkeypatch):
    asked = []
    monkeypatch.setattr("edgepress.sparse.run_file", lambda *_: (np.full((4, 3), np.nan, np.float32),))

    _, options, why = converted(tmp_path, worker_pool, timing(2, 1, asked))

    assert (asked, options.sparse) == ([], False)
    assert "its outputs are not those of the file with zeros" in why


def test_a_sparse_file_that_runtimes_refuse_is_refused_before_it_is_made(tmp_path, worker_pool):
    options = ConversionOptions("int8", sparse=True)

    with pytest.raises(ConversionError, match=r"model\.tflite cannot leave zeros out.*blocks of 16.*never"):
        convert_model(pruned(4), tmp_path / "model.tflite", options, INPUTS, worker_pool)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("format", "block"), [("float32", 1), ("float32", 4), ("dynamic", 16), ("int8", 16)])
def test_a_sparse_file_computes_what_the_dense_one_does(format, block, tmp_path, worker_pool):
    def options(sparse):
        return ConversionOptions(format, "float32", sparse=sparse)

    files = [
        convert_model(pruned(block), tmp_path / f"{sparse}.tflite", options(sparse), INPUTS, worker_pool)
        for sparse in (False, True)
    ]

    (dense,), (sparse,) = (worker_pool.run(file, INPUTS) for file in files)
    np.testing.assert_allclose(sparse, dense, atol=1e-5)
    assert files[1].size_bytes < 0.8 * files[0].size_bytes


def test_a_recipe_with_blocks_asks_the_device_and_its_choice_is_in_the_report(tmp_path, worker_pool):
    compiled(made(net)).save(tmp_path / "m.keras")
    text = '[[step]]\nkind = "prune"\nstructure = "weights"\nblock = "1x4"\nsparsity = 0.9\nepochs = 0'
    dataset = blobs(shape=(64,))

    def report(judge):
        artifact = make_artifact(
            Source(tmp_path / "m.keras"),
            parse_recipe(text, source="r", default_name="blocks"),
            dataset,
            worker_pool,
            cache=tmp_path / "cache",
            metric=None,
            seed=0,
            judge=judge,
            progress=Silent(),
        )
        return json.loads((artifact.directory / "report.json").read_text())

    asked, alone = report(timing(100_000, 50_000)), report(None)

    assert asked["compression"]["recipe"]["convert"]["sparse"]
    assert not alone["compression"]["recipe"]["convert"]["sparse"]
    assert asked["recipe_id"] != alone["recipe_id"]
    assert asked["tflite"]["size_bytes"] < alone["tflite"]["size_bytes"]
    assert any("measured: without them 0.50" in note for note in asked["compression"]["notes"])
