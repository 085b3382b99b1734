"""What a board survives, and what its host says of it."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from edgepress.benchmarking.session import evaluate
from edgepress.conversion import inspect
from edgepress.devices.device import Device
from edgepress.emulator import Faults, Machine, MachineState
from edgepress.errors import DiskFullError, LinkLostError
from support.device_board import SMOKE, BoardUnderTest

SHORT_S = 2.0
LONG_AGO = 1_000_000_000  # 2001


def content(seed: int, size_bytes: int) -> tuple[bytes, str]:
    data = np.random.default_rng(seed).bytes(size_bytes)
    return data, hashlib.sha256(data).hexdigest()


def test_a_snapshot_brings_disk_and_memory_back_with_the_right_time(board: BoardUnderTest, machine: Machine) -> None:
    board.disconnect()
    machine.snapshot("before")
    with machine.ssh() as shell:
        shell.run(["touch", "trace"])
    machine.restore("before")
    with machine.ssh() as shell:
        assert shell.run(["test", "-e", "trace"]).returncode == 1
        assert abs(float(shell.run(["date", "+%s.%N"]).stdout) - time.time()) < SHORT_S


def test_power_that_goes_is_noticed_at_once_and_the_board_comes_back_whole_without_a_clock(
    board: BoardUnderTest, device: Device, machine: Machine
) -> None:
    first, first_sha256 = content(0, 1000)
    data, sha256 = content(1, 3 << 20)
    device.client.push(first, first_sha256)
    Faults(machine).power_cut()
    began = time.monotonic()
    with pytest.raises(LinkLostError):
        device.client.push(data, sha256)
    assert time.monotonic() - began < SHORT_S
    assert machine.state is MachineState.OFF
    machine.start()
    Faults(machine).set_clock(LONG_AGO)
    device = board.device()
    assert int(device.transport.run(["date", "+%s"]).stdout) < LONG_AGO + 3600
    assert device.client.blob(first_sha256).present
    device.client.push(data, sha256)
    _, (output,) = evaluate(device, inspect(SMOKE), (np.array([[1.0, 2.0]], np.float32),))
    assert output.tolist() == [[2.0, 4.0]]


def test_a_link_that_is_down_is_given_up_and_works_again_when_it_is_up(
    board: BoardUnderTest, device: Device, machine: Machine
) -> None:
    device.client._answer_timeout_s = SHORT_S
    with Faults(machine).link_down(), pytest.raises(LinkLostError):
        device.client.facts()
    assert board.device().client.jobs() == ()


def test_a_board_that_hangs_is_given_up_and_answers_when_it_goes_on(device: Device, machine: Machine) -> None:
    with machine.ssh() as impatient, Faults(machine).paused():
        assert machine.state is MachineState.PAUSED
        with pytest.raises(LinkLostError):
            impatient.run(["true"], timeout_s=SHORT_S)
    assert machine.state is MachineState.ON
    assert device.client.jobs() == ()


def test_a_full_disk_is_a_typed_error_and_room_makes_it_good(device: Device, machine: Machine) -> None:
    data, sha256 = content(2, 2 << 20)
    with Faults(machine).full_disk(free_bytes=1 << 20), pytest.raises(DiskFullError):
        device.client.push(data, sha256)
    device.client.push(data, sha256)
