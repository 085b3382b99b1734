"""The runtimes, installed on a board by the board itself, each into a venv of its own. Uses the package index."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgepress.benchmarking.session import evaluate
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.provisioning import provision
from edgepress.errors import ProvisioningError
from edgepress_agent.protocol.messages import Runtime
from edgepress_converters.flatbuffer import read_model
from support.sshd import Board

pytestmark = pytest.mark.ssh

MODEL = Path(__file__).parents[1] / "cases" / "models" / "conv_int8.tflite"


@pytest.fixture(scope="session")
def tflite(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    inventory = board.inventory(tmp_path_factory.mktemp("provision"))
    with Device.open("board", inventory) as device:
        python = device.facts.python_version
    if tuple(map(int, python.split(".")[:2])) > (3, 11):
        pytest.skip(f"tflite-runtime 2.14.0 has no wheel for the board's Python {python}")
    return provision("board", "tflite-runtime==2.14.0", inventory=inventory)


def test_a_board_without_a_runtime_says_how_to_get_one(board: Board, tmp_path: Path) -> None:
    inventory = board.inventory(tmp_path, home=str(tmp_path / "bare"))
    with Device.open("board", inventory) as device, pytest.raises(ProvisioningError, match="device provision board"):
        device.runtime()


def test_each_runtime_has_a_python_of_its_own_on_the_board(board: Board, litert: Runtime, tflite: Runtime) -> None:
    assert (litert.name, litert.version) == ("ai-edge-litert", "2.1.6")
    assert (tflite.name, tflite.version) == ("tflite-runtime", "2.14.0")
    assert tflite.numpy_version.startswith("1.")
    for runtime in (litert, tflite):
        assert Path(runtime.python).is_relative_to(board.home / "runtimes")
    assert litert.python != tflite.python != sys.executable


def test_both_run_the_same_model_to_the_same_outputs(inventory: Inventory, litert: Runtime, tflite: Runtime) -> None:
    model = read_model(MODEL)
    inputs = tuple(np.random.default_rng(1).random((4, *tensor.shape[1:]), np.float32) for tensor in model.inputs)
    with Device.open("board", inventory) as device:
        assert device.runtimes[0] == litert
        _, (modern, *_) = evaluate(device, model, inputs, runtime=litert)
        _, (classic, *_) = evaluate(device, model, inputs, runtime=tflite)
    assert np.abs(modern.astype(int) - classic.astype(int)).max() <= 2


def test_provisioning_again_installs_nothing(inventory: Inventory, litert: Runtime) -> None:
    with Device.open("board", inventory) as device:
        before = {state.job_id for state in device.client.jobs()}
    assert provision("board", "ai-edge-litert", inventory=inventory) == litert
    with Device.open("board", inventory) as device:
        assert {state.job_id for state in device.client.jobs()} == before
