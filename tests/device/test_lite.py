"""A board as Raspberry Pi OS Lite comes, which has no module venv, on a network that ends at this machine.

It lives and dies by `edgepress emulator`, as a user types it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from edgepress.benchmarking.session import evaluate
from edgepress.conversion import inspect
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.provisioning import install_runtime
from edgepress.emulator import Machine
from edgepress.errors import ProvisioningError
from support.device_board import SMOKE, has_ended
from support.shell import Shell


@pytest.fixture
def device(lite: Machine, lite_shell: Shell) -> Iterator[Device]:
    with Device.open("lite", Inventory.load(lite_shell.folder / "devices.toml")) as device:
        yield device


def test_what_is_missing_is_named_and_a_runtime_sent_from_here_runs_models_there(device: Device) -> None:
    with pytest.raises(ProvisioningError, match=r"without the module venv.*--offline"):
        install_runtime(device)
    runtime = install_runtime(device, "tflite-runtime", offline=True)
    assert (runtime.name, runtime.version) == ("tflite-runtime", "2.14.0")
    assert int(runtime.numpy_version.split(".")[0]) < 2
    assert "asimddp" in device.facts.cpu_features
    assert device.facts.runtimes == (runtime,)
    _, (output,) = evaluate(device, inspect(SMOKE), (np.array([[1.0, 2.0]], np.float32),), runtime=runtime)
    assert output.tolist() == [[2.0, 4.0]]
    assert install_runtime(device, "tflite-runtime") == runtime


def test_a_board_is_started_used_stopped_and_destroyed(lite: Machine, lite_shell: Shell) -> None:
    on = lite_shell.json("emulator", "start", "lite")["machine"]
    assert on["state"] == "on"
    process = psutil.Process(on["pid"])
    facts = lite_shell.json("device", "check", "lite")["facts"]
    assert (facts["machine"], facts["emulated"]) == ("aarch64", True)
    assert "edgepress: up at" in lite_shell.run("emulator", "console", "lite").stdout

    assert lite_shell.json("emulator", "stop", "lite")["machine"]["state"] == "off"
    assert has_ended(process)
    assert "lite  off" in lite_shell.run("emulator", "status", "lite").stdout

    lite_shell.run("emulator", "destroy", "lite")
    assert not lite.folder.exists()
    refused = lite_shell.run("emulator", "start", "lite", code=1)
    assert "no emulated board named 'lite'" in refused.stderr
    lite_shell.run("device", "check", "lite", code=1)
