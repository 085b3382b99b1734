"""What a board survives, and what its host says of it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest

from edgepress.benchmarking.session import evaluate
from edgepress.conversion import inspect
from edgepress.devices.agent_archive import agent_archive
from edgepress.devices.device import Device
from edgepress.emulator import Faults, Machine, MachineState
from edgepress.errors import DiskFullError, LinkLostError
from edgepress.transport.agent_client import AgentClient
from support.device_board import READY, BoardUnderTest

SMOKE = Path(__file__).parents[1] / "cases" / "models" / "smoke.tflite"
SHORT_S = 2.0
LONG_AGO = 1_000_000_000  # 2001


def impatient(device: Device) -> AgentClient:
    """A second conversation with the agent, which gives up soon."""
    serve = ["python3", f".edgepress/agents/{agent_archive().sha256}.pyz", "serve"]
    client = AgentClient(device.transport.open(serve), device.name, answer_timeout_s=SHORT_S)
    client._answer_timeout_s = 30.0  # until it has started
    client.hello()
    client._answer_timeout_s = SHORT_S
    return client


def test_power_that_goes_is_noticed_at_once_and_a_later_start_finds_the_board_whole(
    board: BoardUnderTest, machine: Machine
) -> None:
    content = np.random.default_rng(1).bytes(3 << 20)
    sha256 = hashlib.sha256(content).hexdigest()
    with board.open() as device:
        device.client.push(content[:1000], hashlib.sha256(content[:1000]).hexdigest())
        Faults(machine).power_cut()
        began = time.monotonic()
        with pytest.raises(LinkLostError):
            device.client.push(content, sha256)
        assert time.monotonic() - began < SHORT_S
    assert machine.state is MachineState.OFF
    machine.start()
    with board.open() as device:
        device.client.push(content, sha256)
        model = inspect(SMOKE)
        _, (output,) = evaluate(device, model, (np.array([[1.0, 2.0]], np.float32),))
        assert output.tolist() == [[2.0, 4.0]]


def test_a_link_that_is_down_is_given_up_and_works_again_when_it_is_up(board: BoardUnderTest, machine: Machine) -> None:
    with board.open() as device:
        client = impatient(device)
        with Faults(machine).link_down(), pytest.raises(LinkLostError):
            client.facts()
    with board.open() as device:
        assert device.client.jobs() == ()


def test_a_board_that_hangs_is_given_up_and_answers_when_it_goes_on(board: BoardUnderTest, machine: Machine) -> None:
    with board.open() as device:
        client = impatient(device)
        with Faults(machine).paused():
            assert machine.state is MachineState.PAUSED
            with pytest.raises(LinkLostError):
                client.facts()
    assert machine.state is MachineState.ON
    with board.open() as device:
        assert device.client.jobs() == ()


def test_a_full_disk_is_a_typed_error_and_room_makes_it_good(board: BoardUnderTest, machine: Machine) -> None:
    content = np.random.default_rng(2).bytes(2 << 20)
    sha256 = hashlib.sha256(content).hexdigest()
    with board.open() as device:
        with Faults(machine).full_disk(free_bytes=1 << 20), pytest.raises(DiskFullError):
            device.client.push(content, sha256)
        device.client.push(content, sha256)


def test_a_clock_that_is_set_back_does_not_disturb_a_job(board: BoardUnderTest, machine: Machine) -> None:
    with board.open() as device:
        Faults(machine).set_clock(LONG_AGO)
        assert int(device.transport.run(["date", "+%s"]).stdout) < LONG_AGO + 3600
        _, (output,) = evaluate(device, inspect(SMOKE), (np.array([[1.0, 2.0]], np.float32),))
        assert output.tolist() == [[2.0, 4.0]]
        Faults(machine).set_clock(time.time())


def test_a_snapshot_brings_disk_and_memory_back_with_the_right_time(board: BoardUnderTest, machine: Machine) -> None:
    with machine.ssh() as shell:
        shell.run(["touch", "trace"])
    machine.restore(READY)
    with machine.ssh() as shell:
        assert shell.run(["test", "-e", "trace"]).returncode == 1
        assert abs(float(shell.run(["date", "+%s.%N"]).stdout) - time.time()) < SHORT_S
    with board.open() as device:
        assert device.facts.runtimes
