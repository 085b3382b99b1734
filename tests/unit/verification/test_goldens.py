from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.conversion import convert_model
from edgepress.errors import DataError, ModelError
from edgepress.verification.goldens import Goldens, golden_count, goldens_of_file, make_goldens
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress.verification.reference import run_file, to_raw, to_real
from edgepress_converters.model import TensorSpec, TFLiteModel
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool
from support import models_small


@pytest.fixture(scope="module")
def keras_model() -> Any:
    return models_small.many_in_many_out()


@pytest.fixture(scope="module")
def int8_file(keras_model: Any, worker_pool: WorkerPool, tmp_path_factory: pytest.TempPathFactory) -> TFLiteModel:
    path: Path = tmp_path_factory.mktemp("goldens") / "model.tflite"
    calibration = models_small.inputs_for(keras_model, 50)
    return convert_model(keras_model, path, ConversionOptions("int8"), calibration, worker_pool)


def test_goldens_have_the_references_and_the_hosts_outputs_in_model_order(
    keras_model: Any, int8_file: TFLiteModel, worker_pool: WorkerPool
) -> None:
    inputs = models_small.inputs_for(keras_model, 6, seed=1)
    goldens = make_goldens(keras_model, int8_file, inputs, worker_pool)
    assert goldens.reference_outputs is not None
    assert [(a.shape, a.dtype) for a in goldens.reference_outputs] == [((6, 2), np.float32), ((6, 5), np.float32)]
    assert [(a.shape, a.dtype) for a in goldens.host_outputs] == [((6, 2), np.int8), ((6, 5), np.int8)]
    for real, reference in zip(to_real(int8_file, goldens.host_outputs), goldens.reference_outputs, strict=True):
        assert np.abs(real - reference).max() < 0.1 * np.ptp(reference)


def test_the_host_agrees_with_itself(keras_model: Any, int8_file: TFLiteModel, worker_pool: WorkerPool) -> None:
    goldens = make_goldens(keras_model, int8_file, models_small.inputs_for(keras_model, 6), worker_pool)
    again = run_file(int8_file, goldens.inputs, worker_pool)
    assert check_outputs(goldens, int8_file, again).level is OutputCheckLevel.IDENTICAL


@pytest.mark.parametrize(("wanted", "got"), [(20, 20), (1, 16), (100, 30)])
def test_the_first_goldens_keep_what_belongs_together(wanted: int, got: int) -> None:
    numbers = np.arange(30, dtype=np.float32)[:, None]
    first = Goldens((numbers,), (numbers + 1,), (numbers + 2,), (numbers + 3,)).first(wanted)
    assert first.reference_outputs is not None
    assert first.plain_outputs is not None
    assert len(first.inputs[0]) == got
    np.testing.assert_array_equal(first.reference_outputs[0], first.inputs[0] + 1)
    np.testing.assert_array_equal(first.host_outputs[0], first.inputs[0] + 2)
    np.testing.assert_array_equal(first.plain_outputs[0], first.inputs[0] + 3)
    assert Goldens((numbers,), None, (numbers,)).first(wanted).reference_outputs is None


def test_a_file_alone_gets_goldens_without_a_reference(int8_file: TFLiteModel, worker_pool: WorkerPool) -> None:
    goldens = goldens_of_file(int8_file, worker_pool)
    assert goldens.reference_outputs is None
    assert goldens_of_file(int8_file, worker_pool).inputs[0].tobytes() == goldens.inputs[0].tobytes()
    floats = to_raw(int8_file, goldens.inputs)[0]
    assert floats.min() < -100  # random inputs cover the range of a quantized input
    assert floats.max() > 100
    assert not goldens.inputs[2].any()  # an index: only 0 is sure to exist
    assert goldens.host_outputs[0].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda inputs: inputs[:2], "takes 3 inputs; got 2 arrays"),
        (lambda inputs: (inputs[1], inputs[0], inputs[2]), r"'input_0'.*takes samples of shape \(4,\); got \(3,\)"),
        (lambda inputs: (inputs[0][:1], *inputs[1:]), r"same number of samples; got \[1, 3\]"),
        (lambda inputs: tuple(array[:0] for array in inputs), r"got \[0\]"),
    ],
)
def test_inputs_that_do_not_fit_are_data_errors(
    change: Any, said: str, keras_model: Any, int8_file: TFLiteModel, worker_pool: WorkerPool
) -> None:
    with pytest.raises(DataError, match=said):
        run_file(int8_file, change(models_small.inputs_for(keras_model, 3)), worker_pool)


def test_a_model_of_strings_is_refused(int8_file: TFLiteModel, worker_pool: WorkerPool) -> None:
    strings = replace(int8_file, inputs=(TensorSpec("text", 0, "object", (1,), None, None),))
    with pytest.raises(ModelError, match=r"'text'.*takes strings"):
        goldens_of_file(strings, worker_pool)


@pytest.mark.parametrize(
    ("inputs", "outputs", "count"),
    [
        ([(None, 24, 24, 1)], [(None, 16)], 512),
        ([(None, 32, 32, 3)], [(None, 10)], 340),
        ([(None, 64, 64, 1)], [(None, 64, 64, 7)], 32),
        ([(None, 224, 224, 3)], [(None, 1000)], 16),
        ([(None, None, 8), (None, 4)], [(None, 1)], 512),
    ],
)
def test_there_are_as_many_goldens_as_four_megabytes_hold(inputs: Any, outputs: Any, count: int) -> None:
    model = SimpleNamespace(
        inputs=[SimpleNamespace(shape=shape) for shape in inputs],
        outputs=[SimpleNamespace(shape=shape) for shape in outputs],
    )
    assert golden_count(model) == count
