"""A release is switched only after the board itself has run the model and its outputs were found right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepress
import edgepress_agent
from edgepress.deploying import Parcel, deliver
from edgepress.deployment.releases import deploy, manifest_of, plan_deployment, rollback
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.errors import AgentError, DeploymentError, InputError, OutputCheckError
from edgepress.verification.goldens import goldens_of_file
from edgepress.verification.reference import run_file, to_real
from edgepress_agent.protocol.messages import HealthCheck, ReleaseState, Runtime
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.model import TensorSpec, TFLiteModel
from edgepress_converters.pool import WorkerPool

MODELS = Path(__file__).parents[2] / "cases" / "models"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """This machine, with a home and a lock of its own: what runs there is the real agent."""
    monkeypatch.setenv("EDGEPRESS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEPRESS_LOCK", str(tmp_path / "lock"))
    with Device.open("local", Inventory.load(tmp_path / "devices.toml")) as device:
        yield device


def inputs_of(model: TFLiteModel) -> tuple[Any, ...]:
    random = np.random.default_rng(3)
    return tuple(random.random((2, *tensor.shape[1:]), np.float32) for tensor in model.inputs)


def accept(outputs: tuple[Any, ...]) -> None:
    assert all(output.shape[0] == 2 for output in outputs)


def release(board: Device, model: TFLiteModel, check: Any = accept) -> ReleaseState:
    return deploy(board, model, "digits", {"recipe": "int8"}, inputs_of(model), check)


def test_a_model_whose_outputs_are_right_becomes_current_with_its_manifest(board: Device) -> None:
    model = read_model(MODELS / "conv_int8.tflite")
    state = release(board, model)
    assert state.path is not None
    current = Path(state.path)
    assert hashlib.sha256(current.read_bytes()).hexdigest() == model.sha256
    assert json.loads(current.with_name("manifest.json").read_text()) == {"recipe": "int8"}


def test_wrong_outputs_leave_the_old_release(board: Device) -> None:
    old = release(board, read_model(MODELS / "conv_int8.tflite"))

    def refuse(outputs: tuple[Any, ...]) -> None:
        raise OutputCheckError("off by 120 quanta")

    with pytest.raises(OutputCheckError, match="120 quanta"):
        release(board, read_model(MODELS / "dense_float32.tflite"), refuse)
    assert board.client.releases("digits") == (old,)


def test_a_deployment_says_in_its_manifest_how_the_outputs_compared_and_wrong_ones_are_refused(
    board: Device, worker_pool: WorkerPool
) -> None:
    model = read_model(MODELS / "conv_int8.tflite")
    goldens = goldens_of_file(model, worker_pool)
    state = deliver(Parcel(model, "digits", goldens, None), board)
    manifest = json.loads(Path(state.path or "").with_name("manifest.json").read_text())
    assert manifest["output_check"]["level"] in ("identical", "within tolerance")
    other = replace(goldens, inputs=tuple(array[::-1] for array in goldens.inputs))
    with pytest.raises(OutputCheckError, match=r"answers wrongly on local: output .* differs from this machine's by"):
        deliver(Parcel(model, "digits", other, None), board)
    assert board.client.releases("digits") == (state,)


def test_a_model_that_the_board_refuses_leaves_the_old_release(board: Device, tmp_path: Path) -> None:
    good = read_model(MODELS / "conv_int8.tflite")
    old = release(board, good)
    truncated = good.path.read_bytes()[: good.size_bytes // 2]
    path = tmp_path / "cut.tflite"
    path.write_bytes(truncated)
    cut = TFLiteModel(
        path, hashlib.sha256(truncated).hexdigest(), len(truncated), good.inputs, good.outputs, (), (), ()
    )
    with pytest.raises(DeploymentError, match=r"cut\.tflite was not activated.*golden inputs failed.*still in use"):
        release(board, cut)
    assert board.client.releases("digits") == (old,)


def test_a_release_that_is_not_healthy_is_taken_back_by_the_board(board: Device) -> None:
    old = release(board, read_model(MODELS / "conv_int8.tflite"))
    model = read_model(MODELS / "dense_float32.tflite")
    sick = HealthCheck(command=("sh", "-c", "echo no camera; exit 1"))
    with pytest.raises(
        DeploymentError, match=rf"is not well as digits: .* status 1: no camera; digits uses {old.current} again$"
    ):
        deploy(board, model, "digits", {}, inputs_of(model), accept, health=sick)
    assert board.client.releases("digits") == (old,)


def test_rollback_leads_to_what_was_replaced_until_there_is_nothing_more(board: Device) -> None:
    first, second = (release(board, read_model(MODELS / name)) for name in ("conv_int8.tflite", "dense_float32.tflite"))
    assert rollback(board, "digits").current == first.current
    with pytest.raises(DeploymentError, match=rf"uses {first.current}.*other releases: {second.current}. `--to"):
        rollback(board, "digits")
    assert rollback(board, "digits", second.current).current == second.current
    with pytest.raises(AgentError, match="no application 'letters' on this board; there is digits"):
        rollback(board, "letters")


def test_a_plan_says_what_would_be_sent_and_replaced_and_changes_nothing(board: Device) -> None:
    model, runtime = read_model(MODELS / "conv_int8.tflite"), board.runtime()
    plan = plan_deployment(board, model, "digits", runtime)
    assert (plan.bytes_to_send, plan.current, plan.changes) == (model.size_bytes, None, True)
    assert plan.disk_free_bytes > 0
    assert board.client.releases() == ()
    old = release(board, model)
    plan = plan_deployment(board, model, "digits", runtime)
    assert (plan.bytes_to_send, plan.current, plan.changes) == (0, old.current, False)
    assert plan_deployment(board, read_model(MODELS / "dense_float32.tflite"), "digits", runtime).changes


def test_a_program_on_the_board_finds_all_that_it_needs_in_the_manifest(board: Device, tmp_path: Path) -> None:
    model = read_model(MODELS / "two_in_two_out.tflite")
    report = {"recipe_id": "r1", "input_spec": {"labels": ["left", "right"], "mean": [1.0], "scale": [0.5]}}
    state = deploy(board, model, "sides", manifest_of(model, board.runtime(), report), inputs_of(model), accept)
    sides = edgepress_agent.load("sides", tmp_path / "home")
    raw = tuple(array[:1] for array in inputs_of(model))
    with WorkerPool() as pool:
        expected = to_real(model, run_file(model, [(array - 1) / 0.5 for array in raw], pool))
    prediction = sides.predict(*raw)
    assert (sides.release, sides.manifest["runtime"]["python"]) == (state.current, board.runtime().python)
    assert {name for name, _ in prediction.top(2)} == {"left", "right"}
    for ours, theirs in zip(prediction.outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0], rtol=1e-5)


def test_the_manifest_says_how_to_feed_the_model() -> None:
    tensor = TensorSpec("image", 0, "int8", (1, 8, 8, 1), 0.5, -3)
    model = TFLiteModel(Path("m.tflite"), "ab", 10, (tensor,), (), (), (), ())
    runtime = Runtime("ai-edge-litert", "2.1.6", "3.11.2", "2.2.6", "/usr/bin/python3")
    report = {"recipe": {"name": "int8"}, "recipe_id": "r1", "input_spec": {"labels": ["0"]}, "seed": 3}
    manifest = manifest_of(model, runtime, report)
    assert manifest["inputs"][0] | {"shape": [1, 8, 8, 1]} == {
        "name": "image",
        "position": 0,
        "dtype": "int8",
        "shape": [1, 8, 8, 1],
        "scale": 0.5,
        "zero_point": -3,
    }
    assert manifest["runtime"] == {"name": "ai-edge-litert", "version": "2.1.6", "python": "/usr/bin/python3"}
    assert (manifest["recipe_id"], manifest["input_spec"]) == ("r1", {"labels": ["0"]})
    assert manifest_of(model, runtime)["recipe"] is None
    json.dumps(manifest)


def test_a_name_that_is_none_for_an_application_is_refused_before_a_device_is_reached(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lower case letters.*; got 'My Model' from .*: give --app NAME"):
        edgepress.deploy(tmp_path / "My Model.tflite", device="no-such-device")
