from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress_converters.errors import (
    CalibrationError,
    ConversionRefusedError,
    NotTFLiteError,
    RunRefusedError,
    RuntimeRefusesError,
    UnexpectedFloatError,
    UnsupportedOptionError,
    WorkerDiedError,
)
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from support import models_small
from support.worker_processes import DEADLINE_S, ending, host


@pytest.fixture
def fresh_pool() -> Iterator[WorkerPool]:
    """A pool whose worker has not imported TensorFlow."""
    with WorkerPool() as pool:
        yield pool


# Of the range of the outputs. The models are random and small: every rounding shows.
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"format": "float32"}, 1e-5),
        ({"format": "float16"}, 5e-3),
        ({"format": "dynamic"}, 5e-2),
        ({"format": "int8"}, 1e-1),
        ({"format": "int8", "io": "float32"}, 1e-1),
        ({"format": "int16x8"}, 2e-2),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [models_small.residual_cnn, models_small.dense_only, models_small.conv1d])
def test_a_converted_file_computes_what_the_keras_model_does(
    make: Any, options: dict[str, Any], tolerance: float, convert: Any, exported: Any, worker_pool: WorkerPool
) -> None:
    file = convert(make, **options)
    keras_model, _ = exported(make)
    (x,) = models_small.inputs_for(keras_model, 20)
    expected = keras_model.predict(x, verbose=0)
    (source,), (sink,) = file.inputs, file.outputs
    if source.scale is not None:
        x = np.clip(np.round(x / source.scale) + source.zero_point, -128, 127).astype(np.int8)
    (y,) = worker_pool.run(file, (x,))
    assert y.shape == expected.shape
    real = y if sink.scale is None else (y.astype(np.float32) - sink.zero_point) * sink.scale
    assert np.abs(real - expected).max() <= tolerance * np.ptp(expected)


def test_each_format_is_smaller_than_the_one_before_where_weights_dominate(convert: Any) -> None:
    sizes = [convert(models_small.dense_only, format=name).size_bytes for name in ("float32", "float16", "dynamic")]
    assert sizes == sorted(sizes, reverse=True)


def test_a_sparse_conversion_leaves_zeros_out_and_computes_the_same(
    exported: Any, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    keras_model, directory = exported(models_small.half_zero)
    dense, sparse = (
        worker_pool.convert(directory, tmp_path / f"{sparse}.tflite", ConversionOptions(sparse=sparse))
        for sparse in (False, True)
    )
    inputs = models_small.inputs_for(keras_model, 5)
    assert sparse.size_bytes < 0.8 * dense.size_bytes
    np.testing.assert_allclose(worker_pool.run(sparse, inputs)[0], worker_pool.run(dense, inputs)[0], atol=1e-5)


def test_a_conversion_uses_samples_of_the_whole_calibration_set(
    exported: Any, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    """The last sample has the widest range: a scale that covers it shows that it was used."""
    keras_model, directory = exported(models_small.dense_only)
    (x,) = models_small.inputs_for(keras_model, 50)
    x[-1] *= 100
    options = ConversionOptions("int8", calibration_samples=5)
    file = worker_pool.convert(directory, tmp_path / "model.tflite", options, (x,))
    assert file.inputs[0].scale == pytest.approx(np.ptp(x) / 255, rel=0.5)


def test_running_imports_no_tensorflow(digits_files: dict[str, Path], fresh_pool: WorkerPool) -> None:
    fresh_pool.run(read_model(digits_files["float32"]), (np.zeros((1, 16, 16, 1), np.float32),))
    maps = Path(f"/proc/{fresh_pool.pid}/maps").read_text()
    assert "ai_edge_litert" in maps
    assert "site-packages/tensorflow/" not in maps


def test_a_pool_that_is_not_used_starts_no_process(fresh_pool: WorkerPool) -> None:
    assert fresh_pool.pid is None


def test_a_module_in_the_users_directory_does_not_shadow_the_workers(
    digits_files: dict[str, Path], fresh_pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not numpy')")
    monkeypatch.chdir(tmp_path)
    (y,) = fresh_pool.run(read_model(digits_files["float32"]), (np.zeros((2, 16, 16, 1), np.float32),))
    assert y.shape == (2, 10)


# --- what cannot be converted ---------------------------------------------------------------------------------------


def test_an_operator_that_stays_float_in_int8_is_an_error_that_names_it_its_layer_and_the_remedy(convert: Any) -> None:
    with pytest.raises(UnexpectedFloatError, match=r'allow_float = \["NEG"\] lets') as caught:
        convert(models_small.layer_norm, format="int8")
    assert any("layer_norm" in tensor for tensor in caught.value.tensors)


def test_what_the_recipe_allows_to_stay_float_may(convert: Any) -> None:
    file = convert(models_small.layer_norm, format="int8", allow_float=("NEG", "RSQRT"))
    assert file.float_operators


def test_a_layer_may_be_allowed_by_its_name(convert: Any) -> None:
    file = convert(models_small.layer_norm, format="int8", allow_float=("normalized",))
    assert file.float_operators
    with pytest.raises(UnexpectedFloatError, match="NEG"):
        convert(models_small.layer_norm, format="int8", allow_float=("hidden",))


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_ranges_that_stand_in_the_model_need_no_samples(
    io: Any, exported: Any, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    keras_model, directory = exported(models_small.with_ranges)
    file = worker_pool.convert(
        directory, tmp_path / "model.tflite", ConversionOptions("int8", io, ranges="in-model"), None
    )
    assert file.float_operators == ()
    assert {spec.dtype for spec in (*file.inputs, *file.outputs)} == {io}
    if io == "float32":
        (x,) = models_small.inputs_for(keras_model, 20)
        step = 2 * models_small.WIDEST / 255
        assert np.abs(worker_pool.run(file, (x,))[0] - keras_model.predict(x, verbose=0)).max() <= 1.5 * step


def test_a_layer_without_ranges_in_such_a_model_stays_float_and_is_named(
    exported: Any, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    _, directory = exported(models_small.with_ranges_but_for_one)
    options = ConversionOptions("int8", ranges="in-model")
    with pytest.raises(UnexpectedFloatError, match="FULLY_CONNECTED"):
        worker_pool.convert(directory, tmp_path / "model.tflite", options)
    allowed = dataclasses.replace(options, allow_float=("plain",))
    assert worker_pool.convert(directory, tmp_path / "model.tflite", allowed).float_operators


def test_bytes_that_are_scaled_in_float_are_an_error_in_int8(convert: Any) -> None:
    with pytest.raises(UnexpectedFloatError, match="CAST"):
        convert(models_small.raw_bytes, format="int8")


def test_what_the_converter_writes_and_no_runtime_computes_is_refused(convert: Any) -> None:
    with pytest.raises(RuntimeRefusesError, match=r"no known runtime takes it: .*SQUARED_DIFFERENCE 2: INT16"):
        convert(models_small.layer_norm, format="int16x8", allow_float=("NEG", "RSQRT"))


def test_an_operator_that_tflite_lacks_is_named_in_one_line(convert: Any) -> None:
    with pytest.raises(ConversionRefusedError) as caught:
        convert(models_small.not_convertible)
    assert "TFLite has no operator for TensorFlow's MatrixDeterminant (at not_convertible" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_saved_model_is_refused(worker_pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(ConversionRefusedError, match="SavedModel file does not exist"):
        worker_pool.convert(tmp_path, tmp_path / "model.tflite", ConversionOptions())


def test_a_refused_conversion_leaves_the_older_file_and_no_other(
    convert: Any, worker_pool: WorkerPool, tmp_path: Path
) -> None:
    older = convert(models_small.dense_only)
    content = older.path.read_bytes()
    with pytest.raises(UnexpectedFloatError):
        convert(models_small.layer_norm, format="int8")
    with pytest.raises(ConversionRefusedError):
        convert(models_small.not_convertible)
    assert older.path.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_int8_without_calibration_data_says_what_to_give(worker_pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="int8 takes the ranges of activations from data, and got none"):
        worker_pool.convert(tmp_path, tmp_path / "model.tflite", ConversionOptions("int8"), None)


def test_options_that_do_not_go_together_are_refused(worker_pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match='ranges = "in-model" make an int8 model'):
        worker_pool.convert(tmp_path, tmp_path / "model.tflite", ConversionOptions("dynamic", ranges="in-model"), None)


# --- what cannot be run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((), "has 1 inputs; got 0 arrays"),
        ((np.zeros((1, 16, 16, 1)),), "takes float32 samples.*got float64"),
        ((np.zeros((1, 8, 8, 1), np.float32),), r"of shape \(16, 16, 1\).*got float32 of shape \(1, 8, 8, 1\)"),
        ((np.zeros((0, 16, 16, 1), np.float32),), "at least one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    inputs: tuple[Any, ...], said: str, digits_files: dict[str, Path], worker_pool: WorkerPool
) -> None:
    with pytest.raises(RunRefusedError, match=said):
        worker_pool.run(read_model(digits_files["float32"]), inputs)


def test_a_file_that_changed_since_it_was_read_is_refused_by_the_runtime(
    digits_files: dict[str, Path], worker_pool: WorkerPool, tmp_path: Path
) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(digits_files["float32"].read_bytes())
    model = read_model(file)
    file.write_bytes(b"TFL3" * 20)
    with pytest.raises(RunRefusedError, match=r"running model\.tflite: "):
        worker_pool.run(model, (np.zeros((1, 16, 16, 1), np.float32),))
    with pytest.raises(NotTFLiteError):
        read_model(file)


# --- a worker that dies ---------------------------------------------------------------------------------------------


def test_a_converter_that_crashes_is_an_error_that_names_file_task_and_signal(convert: Any) -> None:
    try:
        convert(models_small.rolled_lstm, format="int8")
    except WorkerDiedError as error:
        died = error
    else:
        pytest.skip("this TensorFlow converts an LSTM that is not unrolled")
    assert died.signal in ("SIGSEGV", "SIGABRT")
    assert died.task == "converting to model.tflite (int8)"
    assert str(died).startswith(f"{died.task}: the process died with {died.signal}")


def test_the_next_task_after_a_crash_finds_another_worker(
    digits_files: dict[str, Path], fresh_pool: WorkerPool
) -> None:
    model = read_model(digits_files["float32"])
    inputs = (np.zeros((1, 16, 16, 1), np.float32),)
    (before,) = fresh_pool.run(model, inputs)
    first = fresh_pool.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(WorkerDiedError, match=r"running float32\.tflite: killed after 0\.1 s") as caught:
        fresh_pool.run(model, inputs, timeout_s=0.1)
    assert caught.value.signal == "SIGKILL"
    (after,) = fresh_pool.run(model, inputs)
    assert fresh_pool.pid != first
    np.testing.assert_array_equal(before, after)


def test_a_worker_that_was_killed_while_idle_is_replaced_without_a_word(
    digits_files: dict[str, Path], fresh_pool: WorkerPool
) -> None:
    model = read_model(digits_files["float32"])
    inputs = (np.zeros((1, 16, 16, 1), np.float32),)
    fresh_pool.run(model, inputs)
    assert fresh_pool.pid is not None
    with ending(fresh_pool.pid):
        os.kill(fresh_pool.pid, signal.SIGKILL)
    fresh_pool.run(model, inputs)


def test_closing_ends_the_worker_and_can_be_done_twice(digits_files: dict[str, Path]) -> None:
    pool = WorkerPool()
    pool.start()
    assert pool.pid is not None
    with ending(pool.pid):
        pool.close()
    assert pool.pid is None
    pool.close()


WAITING_HOST = """
import os, signal, sys
from pathlib import Path
import numpy as np
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.pool import WorkerPool

model, inputs = read_model(Path(sys.argv[1])), (np.zeros((1, 16, 16, 1), np.float32),)
with WorkerPool() as pool:
    pool.run(model, inputs)
    os.kill(pool.pid, signal.SIGSTOP)
    print(pool.pid, flush=True)
    pool.run(model, inputs)
"""


def test_ctrl_c_in_the_terminal_ends_host_and_worker(digits_files: dict[str, Path]) -> None:
    with host(WAITING_HOST, str(digits_files["float32"])) as (process, worker), ending(worker):
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(DEADLINE_S) != 0
