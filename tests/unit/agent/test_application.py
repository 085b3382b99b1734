"""What a program on the board does with the release that was deployed for it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgepress_agent
from edgepress_agent.content import ContentStore
from edgepress_agent.home import Home
from edgepress_agent.protocol.messages import ReleaseSpec
from edgepress_agent.protocol.tensors import dequantize, quantize
from edgepress_agent.releases import ReleaseStore
from support.agent_process import MODELS, RUNTIME

RANDOM = np.random.default_rng(8)
LABELS = ["cat", "dog", "heron"]


def deploy(home: Home, name: str, app: str = "pets", **manifest: Any) -> str:
    model = (MODELS / name).read_bytes()
    sha256 = hashlib.sha256(model).hexdigest()
    store = ContentStore(home)
    store.upload(sha256, 0, len(model), model)
    store.commit(sha256, len(model))
    state = ReleaseStore(home).activate(ReleaseSpec(app, sha256, {"runtime": {"name": RUNTIME}, **manifest}))
    assert state.current
    return state.current


def test_an_input_as_the_camera_gives_it_becomes_a_label(home: Home) -> None:
    spec = {"mean": [127.5], "scale": [127.5], "labels": LABELS}
    release = deploy(home, "conv_int8.tflite", input_spec=spec)
    pets = edgepress_agent.load("pets", home.root)
    picture = RANDOM.integers(0, 256, (6, 6, 1), np.uint8)
    prediction = pets.predict(picture)

    interpreter = Interpreter(model_path=str(MODELS / "conv_int8.tflite"))
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    real = ((picture[None] - np.float32(127.5)) / np.float32(127.5)).astype(np.float32)
    interpreter.set_tensor(given["index"], quantize(real, np.int8, *given["quantization"]))
    interpreter.invoke()
    expected = dequantize(interpreter.get_tensor(taken["index"]), *taken["quantization"])[0]

    (output,) = prediction.outputs
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, expected)
    order = np.argsort(-expected, kind="stable")
    assert prediction.top(2) == [(LABELS[entry], expected[entry]) for entry in order[:2]]
    assert (pets.release, pets.labels, pets.manifest["input_spec"]) == (release, tuple(LABELS), spec)


def test_with_the_batch_or_without_is_the_same_and_without_labels_entries_have_numbers(home: Home) -> None:
    deploy(home, "dense_float32.tflite")
    pets = edgepress_agent.load("pets", home.root)
    array = RANDOM.normal(size=(1, 8)).astype(np.float32)
    with_batch, without = pets.predict(array), pets.predict(list(array[0]))
    np.testing.assert_array_equal(with_batch.outputs[0], without.outputs[0])
    assert [name for name, _ in with_batch.top(4)] == [str(entry) for entry in np.argsort(-with_batch.outputs[0])]


def test_inputs_and_outputs_come_in_the_order_of_the_model(home: Home) -> None:
    """The manifest says where the interpreter has them; here it has them the other way round."""
    deploy(home, "two_in_two_out.tflite", app="straight")
    straight = edgepress_agent.load("straight", home.root)
    shapes = [tuple(details["shape"]) for details in straight.interpreter.get_input_details()]
    swap = [{"position": 1}, {"position": 0}]
    deploy(home, "two_in_two_out.tflite", app="swapped", inputs=swap, outputs=swap)
    swapped = edgepress_agent.load("swapped", home.root)
    arrays = [RANDOM.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = straight.predict(*arrays).outputs
    for want, output in zip(expected, swapped.predict(*arrays[::-1]).outputs[::-1], strict=True):
        np.testing.assert_array_equal(output, want)


def test_a_program_hears_of_a_new_release_and_keeps_the_old_one_until_it_loads_it(home: Home) -> None:
    first = deploy(home, "dense_float32.tflite")
    pets = edgepress_agent.load("pets", home.root)
    before = pets.predict(np.ones(8)).outputs[0]
    assert not pets.changed()
    second = deploy(home, "conv_int8.tflite")
    assert pets.changed()
    assert (pets.release, edgepress_agent.load("pets", home.root).release) == (first, second)
    np.testing.assert_array_equal(pets.predict(np.ones(8)).outputs[0], before)
    ReleaseStore(home).undeploy("pets")
    assert pets.changed()
    np.testing.assert_array_equal(pets.predict(np.ones(8)).outputs[0], before)


def test_what_does_not_fit_is_refused_with_what_would(home: Home) -> None:
    deploy(home, "dense_float32.tflite")
    pets = edgepress_agent.load("pets", home.root)
    with pytest.raises(ValueError, match=r"input 0 of pets takes \(8,\), got \(2, 8\)"):
        pets.predict(np.ones((2, 8)))
    with pytest.raises(ValueError, match="pets takes 1 inputs, got 2"):
        pets.predict(np.ones(8), np.ones(8))


def test_an_application_that_is_not_there_is_named_with_those_that_are(home: Home) -> None:
    with pytest.raises(LookupError, match=r"no application 'pets' in .*; there is none"):
        edgepress_agent.load("pets", home.root)
    deploy(home, "smoke.tflite", app="birds")
    with pytest.raises(LookupError, match="there is birds"):
        edgepress_agent.load("pets", home.root)


def test_a_python_without_a_runtime_is_told_which_one_has_it(home: Home) -> None:
    deploy(home, "smoke.tflite", runtime={"name": RUNTIME, "python": "/boards/own/python"})
    program = f"import edgepress_agent; edgepress_agent.load('pets', {str(home.root)!r})"
    agent = Path(edgepress_agent.__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(agent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ImportError: this Python has no TFLite runtime" in done.stderr
    assert "run this program with /boards/own/python" in done.stderr


def test_the_home_is_that_of_the_environment_unless_one_is_given(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(home, "smoke.tflite")
    monkeypatch.setenv("EDGEPRESS_HOME", str(home.root))
    np.testing.assert_array_equal(edgepress_agent.load("pets").predict([1, 2]).outputs[0], [2, 4])
