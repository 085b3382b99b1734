"""A board as Raspberry Pi OS Lite comes, which has no module venv, on a network that ends at this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgepress.benchmarking.session import evaluate
from edgepress.conversion import inspect
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.provisioning import provision
from edgepress.emulator import ImageRecipe, create, destroy
from edgepress.errors import ProvisioningError
from support.device_board import ended_with_us, has_ended, why_not_emulated

SMOKE = Path(__file__).parents[1] / "cases" / "models" / "smoke.tflite"


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventory]:
    """An inventory with the board ``lite``, whose CPU is that of a Pi 5."""
    if reason := why_not_emulated():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lite")
    inventory = Inventory.load(folder / "devices.toml")
    home = folder / "machines"
    with ended_with_us(home):
        machine = create(
            "lite", ImageRecipe(lite=True), cpu="cortex-a76", memory_mib=512, home=home, inventory=inventory
        )
        machine.start()
        process = psutil.Process(machine.pid)
        yield inventory
        destroy(machine, inventory)
    assert has_ended(process)  # a board that is destroyed while it is on takes its process with it


def test_what_is_missing_is_named_with_the_way_round_it(inventory: Inventory) -> None:
    with pytest.raises(ProvisioningError, match=r"without the module venv.*--offline"):
        provision("lite", inventory=inventory)


def test_a_runtime_sent_from_here_runs_models_there(inventory: Inventory) -> None:
    runtime = provision("lite", "tflite-runtime", offline=True, inventory=inventory)
    assert (runtime.name, runtime.version) == ("tflite-runtime", "2.14.0")
    assert int(runtime.numpy_version.split(".")[0]) < 2
    with Device.open("lite", inventory) as device:
        assert "asimddp" in device.facts.cpu_features
        assert device.facts.runtimes == (runtime,)
        _, (output,) = evaluate(device, inspect(SMOKE), (np.array([[1.0, 2.0]], np.float32),), runtime=runtime)
        assert output.tolist() == [[2.0, 4.0]]
    assert provision("lite", "tflite-runtime", inventory=inventory) == runtime
