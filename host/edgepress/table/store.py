"""Where rows are kept: a SQLite file, or PostgreSQL by URL."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from edgepress.errors import MissingPackageError, TableError
from edgepress.table.evidence import decode_evidence, encode_evidence
from edgepress.table.result import COLUMNS, Evidence, Result
from edgepress.table.schema import REVISION, VERSION_TABLE, evidence, results
from edgepress_agent.protocol.messages import MeasurementWarning

DATABASE_VARIABLE = "EDGEPRESS_DB"
FILE_NAME = "edgepress.db"
BUSY_TIMEOUT_S = 60.0  # how long a writer waits for the others; each needs milliseconds

# Each has "on conflict do nothing", under its own name.
_INSERT: dict[str, Callable[[sa.Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# A folder with one of these is a project: its table belongs beside them.
_PROJECT_MARKS = ("devices.toml", "pyproject.toml", ".git")


def default_url() -> str:
    """Return where the table is when nobody says so.

    ``$EDGEPRESS_DB``; else ``edgepress.db`` in the working directory when it exists or when the directory is a project
    (it holds ``devices.toml``, ``pyproject.toml`` or ``.git``); else ``edgepress.db`` in the user's data folder.
    """
    named = os.environ.get(DATABASE_VARIABLE)
    if named:
        return named
    here = Path.cwd()
    if (here / FILE_NAME).exists() or any((here / mark).exists() for mark in _PROJECT_MARKS):
        return str(here / FILE_NAME)
    from platformdirs import user_data_path

    return str(user_data_path("edgepress", appauthor=False) / FILE_NAME)


class ResultStore:
    """The table of results. Rows are only ever added; a context manager.

    Many processes may write to one store at once: each :meth:`record` is one transaction.
    """

    def __init__(self, engine: sa.Engine, place: str) -> None:
        self._engine = engine
        self.place = place
        """Where the rows are, without a password."""

    @classmethod
    def open(cls, url: str | None = None) -> Self:
        """Open a store; make it when it does not exist, and bring an older one to the present form.

        Args:
            url: a path of a SQLite file, or a database URL such as ``postgresql://user@host/name``;
                :func:`default_url` when left out.

        Raises:
            TableError: it is no database, cannot be reached, or was written by a newer edgepress.
            MissingPackageError: PostgreSQL without the extra ``edgepress[postgres]``.
        """
        engine = _engine(url or default_url())
        place = engine.url.render_as_string(hide_password=True)
        place = place.removeprefix("sqlite:///")
        try:
            with _translated(place):
                _bring_up_to_date(engine, place)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, place)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record(self, rows: Iterable[Result]) -> int:
        """Add rows, all of them or none; return how many are new.

        A row that is there already (the same measurement, recorded again after a lost link) is left as it is.

        Raises:
            TableError: a row without its evidence, or the database refuses to be written.
        """
        new = 0
        prepared = [(_as_columns(row), _document(row)) for row in rows]
        with _translated(self.place), _writing(self._engine) as connection:
            for values, document in prepared:
                insert = _INSERT[self._engine.dialect.name](results).values(values).on_conflict_do_nothing()
                if connection.execute(insert.returning(results.c.id)).first() is not None:
                    connection.execute(evidence.insert().values(result_id=values["id"], document=document))
                    new += 1
        return new

    def rows(
        self,
        *,
        devices: Collection[str] = (),
        model: str | None = None,
        recipe: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> tuple[Result, ...]:
        """Return rows without their evidence, the newest session last, each in its own order.

        Args:
            devices: names in the inventory, any of them; all when empty.
            model: a part of the model's name.
            recipe: the recipe's name.
            since: only measurements that ended at this time or later; a time without zone is taken as local.
            limit: at most this many, the newest.
        """
        newest_first = (results.c.created_unix_ns.desc(), results.c.session.desc(), results.c.position.desc())
        query = sa.select(results).order_by(*newest_first)
        if devices:
            query = query.where(results.c.device.in_(devices))
        if model is not None:
            query = query.where(results.c.model.contains(model, autoescape=True))
        if recipe is not None:
            query = query.where(results.c.recipe == recipe)
        if since is not None:
            query = query.where(results.c.created_unix_ns >= round(since.timestamp() * 1e9))
        if limit is not None:
            query = query.limit(limit)
        with _translated(self.place), self._engine.connect() as connection:
            return tuple(_as_result(row) for row in connection.execute(query).mappings())[::-1]

    def evidence(self, result_id: str) -> Evidence:
        """Return the raw samples and the provenance of a row.

        Raises:
            TableError: no such row, or its samples are damaged.
        """
        query = sa.select(evidence.c.document).where(evidence.c.result_id == result_id)
        with _translated(self.place), self._engine.connect() as connection:
            document = connection.execute(query).scalar()
        if document is None:
            raise TableError(f"no row {result_id!r} in {self.place}; `edgepress table --json` prints the ids")
        return decode_evidence(document)


def _as_columns(row: Result) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": row.key,
        **{name: getattr(row, name) for name in COLUMNS},
        "warnings": [dataclasses.asdict(warning) for warning in row.warnings],
    }


def _document(row: Result) -> bytes:
    if row.evidence is None:
        raise TableError(f"row {row.id} has no evidence: a number without its samples is not recorded")
    return encode_evidence(row.evidence)


def _as_result(row: sa.RowMapping) -> Result:
    return Result(
        **{name: row[name] for name in COLUMNS},
        warnings=tuple(MeasurementWarning(**warning) for warning in row["warnings"]),
    )


def _engine(url: str) -> sa.Engine:
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
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.execution_options(edgepress_writes=True).begin() as connection:
        yield connection


def _bring_up_to_date(engine: sa.Engine, place: str) -> None:
    with engine.connect() as connection:
        if _revision(connection, place) == REVISION:
            return
    with _writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('edgepress_version'))"))
        if _revision(connection, place) != REVISION:  # nobody else was quicker
            from edgepress.table.migrate import upgrade

            upgrade(connection)


def _revision(connection: sa.Connection, place: str) -> str | None:
    """The database's revision; None when it is new."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    if revision is not None and str(revision) > REVISION:
        raise TableError(
            f"{place} was written by a newer edgepress (its form is {revision}, this version knows up to {REVISION}); "
            "upgrade edgepress, or name another table with --db"
        )
    return None if revision is None else str(revision)


@contextmanager
def _translated(place: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise TableError(f"the table {place} cannot be used: {error.orig}") from error
    except SQLAlchemyError as error:
        raise TableError(f"the table {place} cannot be used: {error}") from error
