from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress_agent.home import Home
from support.agent_process import AgentProcess


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that exists and is empty."""
    root = tmp_path / "home"
    root.mkdir()
    return Home(root)


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    """A board's lock of its own: tests do not wait for each other."""
    return tmp_path / "board.lock"


@pytest.fixture
def agent(home: Home, lock_file: Path) -> Iterator[AgentProcess]:
    """A real agent, spoken to over pipes."""
    with AgentProcess(home.root, lock_file) as process:
        yield process
