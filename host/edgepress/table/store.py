"""Where rows are kept: a SQLite file, or PostgreSQL by URL."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from edgepress.errors import TableError
from edgepress.table.database import bring_up_to_date, open_engine, translated, writing
from edgepress.table.evidence import encode_evidence, encode_foreign, evidence_of, pack, unpack
from edgepress.table.figures import Figures, figures_from_json
from edgepress.table.models import ModelShelf
from edgepress.table.result import COLUMNS, MEASURED, Evidence, Result
from edgepress.table.schema import evidence, figures, results
from edgepress_agent.protocol.messages import MeasurementWarning

DATABASE_VARIABLE = "EDGEPRESS_DB"
FILE_NAME = "edgepress.db"
MODELS_VARIABLE = "EDGEPRESS_MODELS"

# Each has "on conflict do nothing", under its own name.
_INSERT: dict[str, Callable[[sa.Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_MOST_PARAMETERS = 1000  # of one statement

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


def require_models_of_its_own(url: str | None) -> None:
    """Refuse a table whose model files may lie among those of the default one: what it does not name, that one may.

    Args:
        url: of the table, as :meth:`ResultStore.open` takes it.

    Raises:
        TableError: ``$EDGEPRESS_MODELS`` is set, and this is not the default table.
    """
    folder = os.environ.get(MODELS_VARIABLE)
    if folder and url is not None and Path(url).resolve() != Path(default_url()).resolve():
        raise TableError(
            f"{folder} (${MODELS_VARIABLE}) may have files of other tables, which this one does not name: unset that "
            f"variable, or name the table by ${DATABASE_VARIABLE} if it is the only one of that folder"
        )


class ResultStore:
    """The table of results. Rows are only ever added; a context manager.

    Many processes may write to one store at once: each :meth:`record` is one transaction.
    """

    def __init__(self, engine: sa.Engine, place: str) -> None:
        self._engine = engine
        self.place = place
        """Where the rows are, without a password."""
        self.models = ModelShelf(_models_folder(engine, place))
        """The files that rows were measured of, by hash."""

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
        engine = open_engine(url or default_url())
        place = engine.url.render_as_string(hide_password=True)
        place = place.removeprefix("sqlite:///")
        try:
            with translated(place):
                bring_up_to_date(engine, place)
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
        with translated(self.place), writing(self._engine) as connection:
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
        recipes: Collection[str] = (),
        runtime: str | None = None,
        since: datetime | None = None,
        stable_only: bool = False,
        equal: Mapping[str, Any] | None = None,
        starts: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> tuple[Result, ...]:
        """Return rows without their evidence, the newest session last, each in its own order.

        Args:
            devices: names in the inventory, any of them; all when empty.
            model: a part of the model's name, in any case of letters.
            recipes: names of recipes, any of them; all when empty.
            runtime: its name, or ``NAME==VERSION``.
            since: only measurements that ended at this time or later; a time without zone is taken as local.
            stable_only: only rows with the verdict ``stable`` whose outputs are not wrong.
            equal: other fields of :class:`Result` and the values they must have.
            starts: fields of text (or ``id``) and what they must start with.
            limit: at most this many, the newest.
        """
        newest_first = (results.c.created_unix_ns.desc(), results.c.session.desc(), results.c.position.desc())
        query = sa.select(*(results.c[name] for name in (*COLUMNS, "warnings"))).order_by(*newest_first)
        if devices:
            query = query.where(results.c.device.in_(devices))
        if model is not None:
            query = query.where(results.c.model.icontains(model, autoescape=True))
        if recipes:
            query = query.where(results.c.recipe.in_(recipes))
        if runtime is not None:
            name, _, version = runtime.partition("==")
            query = query.where(results.c.runtime == name)
            query = query.where(results.c.runtime_version == version) if version else query
        if since is not None:
            query = query.where(results.c.created_unix_ns >= round(since.timestamp() * 1e9))
        if stable_only:
            query = query.where(results.c.verdict == "stable")
            query = query.where(sa.or_(results.c.output_check.is_(None), results.c.output_check != "wrong"))
        for name, value in (equal or {}).items():
            query = query.where(results.c[name] == value)
        for name, start in (starts or {}).items():
            query = query.where(self._starts(results.c[name], start))
        if limit is not None:
            query = query.limit(limit)
        with translated(self.place), self._engine.connect() as connection:
            return tuple(_as_result(row) for row in connection.execute(query))[::-1]

    def _starts(self, column: sa.ColumnElement[str], start: str) -> sa.ColumnElement[bool]:
        if self._engine.dialect.name == "sqlite":
            return sa.and_(column >= start, column < start + "\U0010ffff")  # by the index; LIKE reads all rows there
        return column.startswith(start, autoescape=True)  # a range would depend on the server's language

    def evidence(self, result_id: str) -> Evidence:
        """Return the raw samples and the provenance of a row.

        Raises:
            TableError: no such row, its samples are damaged, or another tool measured it.
        """
        return evidence_of(self.document(result_id))

    def document(self, result_id: str) -> dict[str, Any]:
        """Return the evidence of a row, or the text of a foreign one, as JSON values.

        Raises:
            TableError: no such row, or its evidence is damaged.
        """
        query = sa.select(evidence.c.document).where(evidence.c.result_id == result_id)
        with translated(self.place), self._engine.connect() as connection:
            packed = connection.execute(query).scalar()
        if packed is None:
            raise TableError(f"no row {result_id!r} in {self.place}; `edgepress table --json` prints the ids")
        return unpack(packed)

    def record_figures(self, one: Figures) -> None:
        """Add figures of the parts of a model; those that are there already stay as they are."""
        values = {"id": one.id, "model_sha256": one.model_sha256, "created_unix_ns": one.created_unix_ns}
        insert = _INSERT[self._engine.dialect.name](figures).values({**values, "document": pack(one.as_json())})
        with translated(self.place), writing(self._engine) as connection:
            connection.execute(insert.on_conflict_do_nothing())

    def figures(self, models: Iterable[str]) -> tuple[Figures, ...]:
        """Return what is known of the parts of models (sha256 of their files), the newest last.

        Raises:
            TableError: what is stored is damaged.
        """
        wanted = sorted(set(models))
        query = sa.select(figures.c.created_unix_ns, figures.c.document)
        found: list[tuple[int, bytes]] = []
        with translated(self.place), self._engine.connect() as connection:
            for first in range(0, len(wanted), _MOST_PARAMETERS):
                chosen = figures.c.model_sha256.in_(wanted[first : first + _MOST_PARAMETERS])
                found += [(created, document) for created, document in connection.execute(query.where(chosen))]
        return tuple(figures_from_json(unpack(document, "figures of a model")) for _, document in sorted(found))

    def newest_use(self) -> dict[str, int]:
        """Return the model files (sha256) that rows were measured of, and when the newest of each ended (Unix ns)."""
        newest = sa.func.max(results.c.created_unix_ns)
        query = sa.select(results.c.model_sha256, newest).group_by(results.c.model_sha256)
        with translated(self.place), self._engine.connect() as connection:
            return {sha256: int(ended) for sha256, ended in connection.execute(query)}


def _as_columns(row: Result) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": row.key,
        **{name: getattr(row, name) for name in COLUMNS},
        "warnings": [dataclasses.asdict(warning) for warning in row.warnings],
    }


def _document(row: Result) -> bytes:
    if row.origin != MEASURED and row.source is not None:
        return encode_foreign(row.source)
    if row.evidence is None:
        raise TableError(f"row {row.id} has no evidence: a number without its samples is not recorded")
    return encode_evidence(row.evidence)


def _as_result(row: sa.Row[Any]) -> Result:
    values: list[Any]
    *values, warnings = row
    return Result(
        **dict(zip(COLUMNS, values, strict=True)),
        warnings=tuple(MeasurementWarning(**warning) for warning in warnings),
    )


def _models_folder(engine: sa.Engine, place: str) -> Path:
    """Where $EDGEPRESS_MODELS says; else beside a SQLite file, or in the user's data folder for a server."""
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        return Path(named)
    if engine.dialect.name == "sqlite" and engine.url.database:
        return Path(f"{engine.url.database}.models")
    from platformdirs import user_data_path

    return user_data_path("edgepress", appauthor=False) / "models" / hashlib.sha256(place.encode()).hexdigest()[:12]
