"""The board that these tests run on: a real one where $EDGEPRESS_TEST_DEVICE names it, else an emulated one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.emulator import ImageRecipe, Machine, create, destroy
from edgepress.errors import EdgepressError
from support.device_board import NAME, READY, VARIABLE, BoardUnderTest, ended_with_us, why_not_emulated


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.device)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardUnderTest]:
    """The board, its agent in place. An emulated one has a snapshot of this state."""
    folder = tmp_path_factory.mktemp("devices")
    inventory = Inventory.load(folder / "devices.toml")
    target = os.environ.get(VARIABLE)
    if target:
        inventory.add(DeviceConfig(name=NAME, target=target))
        yield BoardUnderTest(inventory, None)
        return
    if reason := why_not_emulated():
        pytest.skip(reason)
    with ended_with_us(folder / "machines"):
        machine = create(NAME, ImageRecipe(), home=folder / "machines", inventory=inventory)
        machine.start()
        under_test = BoardUnderTest(inventory, machine)
        with under_test.open():
            pass
        machine.snapshot(READY)
        yield under_test
        destroy(machine, inventory)


@pytest.fixture
def machine(board: BoardUnderTest) -> Iterator[Machine]:
    """The emulated board for tests that break it; whatever they leave, the next test finds it whole."""
    if board.machine is None:
        pytest.skip(f"faults are for an emulated board, and {VARIABLE} names a real one")
    yield board.machine
    try:
        with board.open() as device:
            if device.client.jobs() == () and not device.lock().held:
                return
    except EdgepressError:
        pass  # that it does not answer is one of the things a test may leave behind
    board.machine.kill()
    board.machine.restore(READY)
