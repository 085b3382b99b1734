"""Older tables become present ones, with their rows."""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from edgepress.table import database as database_module
from edgepress.table import migrate
from edgepress.table.evidence import encode_evidence
from edgepress.table.result import COLUMNS, MEASURED
from edgepress.table.schema import REVISION, results
from edgepress.table.store import ResultStore
from support.table_rows import MIB, result

COMPRESSION = {"model_sha256": "5e" * 32, "recipe": {"name": "int8"}}


def make_old_table(url: str, revision: str) -> sa.Engine:
    """A table as an edgepress of that revision left it."""
    engine = database_module.open_engine(url)
    with database_module.writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(migrate.Path(migrate.__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


def put_row(engine: sa.Engine, document: bytes, **changed: Any) -> str:
    """A row in the columns that the table has."""
    row = dataclasses.replace(result("int8", compression=COMPRESSION), **changed)
    with engine.begin() as connection:
        table = sa.Table("edgepress_results", sa.MetaData(), autoload_with=connection)
        values: dict[str, Any] = {"id": row.id, "key": row.key, **{name: getattr(row, name) for name in COLUMNS}}
        values["warnings"] = [dataclasses.asdict(warning) for warning in row.warnings]
        old = {name: value for name, value in values.items() if name in table.c}
        typed = sa.table(table.name, *(sa.column(name, results.c[name].type) for name in old))
        connection.execute(typed.insert().values(old))
        evidence = sa.Table("edgepress_evidence", sa.MetaData(), autoload_with=connection)
        connection.execute(evidence.insert().values(result_id=row.id, document=document))
    engine.dispose()
    return row.id


def first_document() -> bytes:
    """Evidence as the first version wrote it."""
    row = result("int8", compression=COMPRESSION)
    assert row.evidence is not None
    document = json.loads(zlib.decompress(encode_evidence(row.evidence)))
    document["schema"] = 1
    document.pop("provenance", None)
    return zlib.compress(json.dumps(document).encode())


def test_rows_of_the_first_version_get_what_their_evidence_knows(database: str) -> None:
    row_id = put_row(make_old_table(database, "0001"), first_document())
    with ResultStore.open(database) as store:
        (row,) = store.rows()
        assert row.id == row_id
        assert (row.recipe, row.latency_p50_ns, row.verdict) == ("int8", result().latency_p50_ns, "stable")
        assert (row.os, row.libc, row.cpu_model) == ("debian 12", "glibc 2.36", "Cortex-A72")
        assert (row.python_version, row.numpy_version, row.source_sha256) == ("3.11.2", "2.1.0", "5e" * 32)
        assert (row.project_commit, row.origin) == (None, MEASURED)
        assert len(store.evidence(row_id).run.processes) == 5


def test_a_migrated_table_takes_new_rows(database: str) -> None:
    put_row(make_old_table(database, "0001"), first_document())
    with ResultStore.open(database) as store:
        assert store.record([result("float32", job_id="new")]) == 1
        assert len(store.rows()) == 2


def test_rows_of_other_tools_lose_the_zeros_that_stood_for_unknown(database: str) -> None:
    engine = make_old_table(database, "0004")
    put_row(engine, first_document())
    put_row(engine, b"", origin="benchmark_model", session="a foreign one", delegate_nodes=0, model_rss_bytes=0)
    with ResultStore.open(database) as store:
        foreign, ours = store.rows()
        assert (ours.delegate_nodes, ours.peak_rss_bytes, ours.model_rss_bytes) == (1, 60 * MIB, 20 * MIB)
        assert (foreign.delegate_nodes, foreign.peak_rss_bytes, foreign.model_rss_bytes) == (None, None, 60 * MIB)


def test_damaged_evidence_does_not_stop_a_migration(database: str) -> None:
    put_row(make_old_table(database, "0001"), b"\x00\x11")
    with ResultStore.open(database) as store:
        (row,) = store.rows()
        assert (row.recipe, row.os) == ("int8", None)


def test_a_migration_that_fails_leaves_the_old_table(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_row(make_old_table(database, "0001"), first_document())
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "upgrade", _half_an_upgrade)
        with pytest.raises(RuntimeError, match="power cut"):
            ResultStore.open(database)
    with ResultStore.open(database) as store:
        assert len(store.rows()) == 1
        with store._engine.connect() as connection:
            assert connection.execute(sa.text("SELECT version_num FROM edgepress_version")).scalar() == REVISION


def _half_an_upgrade(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE edgepress_results ADD COLUMN source_sha256 VARCHAR(64)"))
    raise RuntimeError("power cut")
