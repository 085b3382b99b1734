"""Stores on every database that is supported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.table.store import ResultStore
from support import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with postgres.running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "table.db")
    server: postgres.PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def store(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResultStore]:
    monkeypatch.setenv("EDGEPRESS_MODELS", str(tmp_path / "models"))
    with ResultStore.open(database) as opened:
        yield opened


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[ResultStore]:
    """For tests of what is computed from rows: one database is enough."""
    with ResultStore.open(str(tmp_path / "table.db")) as opened:
        yield opened
