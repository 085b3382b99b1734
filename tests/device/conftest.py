"""The boards that these tests run on: a real one where $EDGEPRESS_TEST_DEVICE names it, else emulated ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.emulator import ImageRecipe, Machine, create, destroy
from edgepress.errors import EdgepressError
from support.device_board import NAME, VARIABLE, BoardUnderTest, ended_with_us, has_ended, why_not_emulated
from support.shell import Shell

LITE = ("--lite", "--cpu", "cortex-a76", "--memory", "512M")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.device)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="session")
def inventory(folder: Path) -> Inventory:
    return Inventory.load(folder / "devices.toml")


@pytest.fixture(scope="session")
def lite_shell(folder: Path) -> Shell:
    """The command line of a user who has the board `lite`."""
    place = folder / "lite"
    place.mkdir()
    return Shell(place, EDGEPRESS_MACHINES=str(folder / "machines"))


@pytest.fixture(scope="session", autouse=True)
def booting(
    request: pytest.FixtureRequest, folder: Path, inventory: Inventory, lite_shell: Shell
) -> Iterator[dict[str, Future[Machine]]]:
    """The emulated boards that the selected tests want, all switched on at once: they boot while models are trained."""

    def board() -> Machine:
        machine = create(NAME, ImageRecipe(), home=folder / "machines", inventory=inventory)
        machine.start()
        return machine

    def lite() -> Machine:
        lite_shell.run("emulator", "create", "lite", *LITE)
        lite_shell.run("emulator", "start", "lite")
        return Machine(folder / "machines" / "lite")

    makers: dict[str, Callable[[], Machine]] = {"lite": lite}
    if VARIABLE not in os.environ:
        makers["board"] = board
    ours = [item for item in request.session.items if item.get_closest_marker("device")]
    wanted = {name for item in ours for name in getattr(item, "fixturenames", ())}
    chosen = {} if why_not_emulated() else {name: makers[name] for name in sorted(wanted & makers.keys())}
    with ended_with_us(folder / "machines"), ThreadPoolExecutor() as pool:
        yield {name: pool.submit(make) for name, make in chosen.items()}


@pytest.fixture(scope="session")
def board(booting: dict[str, Future[Machine]], inventory: Inventory) -> Iterator[BoardUnderTest]:
    """The board; who first asks it something waits until it is up."""
    if target := os.environ.get(VARIABLE):
        inventory.add(DeviceConfig(name=NAME, target=target))
    elif reason := why_not_emulated():
        pytest.skip(reason)
    under_test = BoardUnderTest(inventory, booting.get("board"))
    yield under_test
    under_test.disconnect()
    if machine := under_test.machine:
        process = psutil.Process(machine.pid) if machine.pid else None
        destroy(machine, inventory)
        assert process is None or has_ended(process)  # destroyed while it is on, it takes its process with it


@pytest.fixture
def device(board: BoardUnderTest) -> Device:
    """The board, connected."""
    return board.device()


@pytest.fixture
def machine(board: BoardUnderTest) -> Iterator[Machine]:
    """The emulated board for tests that break it; whatever they leave, the next test finds it at work and idle."""
    if board.machine is None:
        pytest.skip(f"faults are for an emulated board, and {VARIABLE} names a real one")
    yield board.machine
    try:
        device = board.device()
        if device.client.jobs() == () and not device.lock().held:
            return
    except EdgepressError:
        pass  # that it does not answer is one of the things a test may leave behind
    board.disconnect()
    board.machine.kill()
    board.machine.start()


@pytest.fixture
def lite(booting: dict[str, Future[Machine]]) -> Machine:
    """A board as Raspberry Pi OS Lite comes, with the CPU of a Pi 5; on."""
    if reason := why_not_emulated():
        pytest.skip(reason)
    return booting["lite"].result()
