"""Reaching a database: a SQLite file, or PostgreSQL by URL, in the present form."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from edgepress.errors import MissingPackageError, TableError
from edgepress.table.schema import REVISION, VERSION_TABLE

BUSY_TIMEOUT_S = 60.0  # how long a writer waits for the others; each needs milliseconds


def open_engine(url: str) -> sa.Engine:
    """Return an engine for a path of a SQLite file or a database URL. Nothing is connected yet.

    Raises:
        TableError, MissingPackageError: see :meth:`edgepress.table.store.ResultStore.open`.
    """
    try:
        if "://" not in url:
            path = Path(url).expanduser().absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            parsed = sa.URL.create("sqlite", database=str(path))
        else:
            parsed = sa.make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise TableError(f"{parsed.get_backend_name()!r} databases are not supported; sqlite and postgresql are")
        connect_args = {"timeout": BUSY_TIMEOUT_S} if parsed.get_backend_name() == "sqlite" else {"connect_timeout": 10}
        engine = sa.create_engine(parsed, connect_args=connect_args)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"a PostgreSQL table needs {error.name}; install it with: pip install 'edgepress[postgres]'"
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise TableError(f"{url.partition('@')[2] or url!r} is no database URL: {error}") from error
    except OSError as error:
        raise TableError(f"the folder for the table cannot be made: {error}") from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, not where sqlite3 guesses
    connection.execute("PRAGMA foreign_keys = ON")
    # Readers go on while somebody writes. It is kept in the file, so only the first connection ever has work to do.
    # Refused where another process is doing it, or the file is read-only or no database: the first query says that.
    with suppress(sqlite3.DatabaseError):
        connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A reader that becomes a writer fails at once when another writer was quicker: writers say so from the start.
    writes = connection.get_execution_options().get("edgepress_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection in a transaction that writes: all of it or nothing."""
    with engine.execution_options(edgepress_writes=True).begin() as connection:
        yield connection


def bring_up_to_date(engine: sa.Engine, place: str) -> None:
    """Make the tables, or migrate older ones.

    Raises:
        TableError: a newer edgepress wrote them.
    """
    with engine.connect() as connection:
        if _revision(connection, place) == REVISION:
            return
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('edgepress_version'))"))
        if _revision(connection, place) != REVISION:  # nobody else was quicker
            from edgepress.table.migrate import upgrade

            upgrade(connection)


def _revision(connection: sa.Connection, place: str) -> str | None:
    """The database's revision; None when it is new."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant of ours  # nosec B608
    if revision is not None and str(revision) > REVISION:
        raise TableError(
            f"{place} was written by a newer edgepress (its form is {revision}, this version knows up to {REVISION}); "
            "upgrade edgepress, or name another table with --db"
        )
    return None if revision is None else str(revision)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn errors of the database into :class:`TableError`."""
    try:
        yield
    except DBAPIError as error:
        raise TableError(f"the table {place} cannot be used: {error.orig}") from error
    except SQLAlchemyError as error:
        raise TableError(f"the table {place} cannot be used: {error}") from error
