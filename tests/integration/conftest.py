"""A board on loopback for the tests that go over real SSH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.devices.inventory import Inventory
from edgepress.devices.provisioning import provision
from edgepress_agent.protocol.messages import Runtime
from support.shell import Shell
from support.small_job import write_small_job
from support.sshd import MISSING, SSHD, Board, start_board


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A real OpenSSH server with a home of its own and nothing in it."""
    if SSHD is None:
        pytest.skip(MISSING)
    board = start_board(tmp_path_factory.mktemp("board"))
    yield board
    board.stop()


@pytest.fixture
def inventory(board: Board, tmp_path: Path) -> Inventory:
    """An inventory that has the board under the name ``board``, its host key accepted."""
    return board.inventory(tmp_path)


@pytest.fixture(scope="session")
def litert(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """ai-edge-litert on the board, installed there by `device provision`, once for all tests."""
    return provision("board", "ai-edge-litert", inventory=board.inventory(tmp_path_factory.mktemp("provision")))


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with a small trained model and its data, and the command line in it."""
    folder = tmp_path_factory.mktemp("job")
    write_small_job(folder)
    return Shell(folder)
