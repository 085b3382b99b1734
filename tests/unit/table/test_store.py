"""The database of results."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress.benchmarking.statistics import summarize
from edgepress.errors import MissingPackageError, TableError
from edgepress.table import store as store_module
from edgepress.table.schema import REVISION, VERSION_TABLE, evidence, metadata
from edgepress.table.store import ResultStore, default_url
from support.table_rows import STARTED_UNIX_NS, result, run_report


def recipes(store: ResultStore, **filters: object) -> list[str | None]:
    return [row.recipe for row in store.rows(**filters)]  # type: ignore[arg-type]


def test_a_row_comes_back_as_it_was_recorded(store: ResultStore) -> None:
    row = result("int8")
    assert store.record([row]) == 1
    assert store.rows() == (row,)
    assert store.evidence(row.id) == row.evidence


def test_a_row_can_be_derived_again_from_its_evidence(store: ResultStore) -> None:
    row = result(run=run_report([[71, 75, 70], [90, 92, 91]]))
    store.record([row])
    summary = summarize(store.evidence(row.id).run)
    stored = store.rows()[0]
    assert (summary.p50_ns, summary.p50_low_ns, summary.p50_high_ns, summary.process_spread) == (
        stored.latency_p50_ns,
        stored.latency_p50_low_ns,
        stored.latency_p50_high_ns,
        stored.process_spread,
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # Without NUL, which PostgreSQL does not take, and halves of pairs, which are no UTF-8.
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_any_text_and_any_seed_are_kept_exactly(store: ResultStore, name: str, seed: int) -> None:
    row = result(name or None, model=name, training_seed=seed, job_id=str(uuid4()))
    store.record([row])
    assert row in store.rows()


def test_recording_the_same_measurement_again_changes_nothing(store: ResultStore) -> None:
    row = result("int8")
    assert (store.record([row]), store.record([row, result("dynamic", position=1)])) == (1, 1)
    assert recipes(store) == ["int8", "dynamic"]


def test_a_measurement_repeated_is_another_row_of_the_same_key(store: ResultStore) -> None:
    first, second = result("int8", job_id="a"), result("int8", job_id="b")
    assert store.record([first, second]) == 2
    assert first.key == second.key


def test_rows_are_recorded_all_or_none(store: ResultStore) -> None:
    without_evidence = dataclasses.replace(result("int8", position=1), evidence=None)
    with pytest.raises(TableError, match="no evidence"):
        store.record([result("float32"), without_evidence])
    assert store.rows() == ()


def test_a_database_that_fails_in_the_middle_keeps_nothing_of_the_call(store: ResultStore) -> None:
    incomplete: Any = dataclasses.replace(result("int8", position=1), verdict=None)  # type: ignore[arg-type]
    with pytest.raises(TableError, match=r"NOT NULL constraint failed|null value in column"):
        store.record([result("float32"), incomplete])
    assert store.rows() == ()


def test_rows_are_filtered_and_the_newest_session_stands_last(store: ResultStore) -> None:
    for number, job in enumerate(["old", "new"]):
        ended = STARTED_UNIX_NS + number * 10**9
        store.record([result("float32", job_id=job, ended_unix_ns=ended, model=f"digits-{job}")])
        store.record([result("int8", job_id=job, ended_unix_ns=ended, device=f"pi-{job}", position=1)])
    assert [row.session for row in store.rows()] == ["old", "old", "new", "new"]
    assert recipes(store) == ["float32", "int8"] * 2
    assert [row.session for row in store.rows(limit=1)] == ["new"]
    assert recipes(store, devices=["pi-old", "pi-new"]) == ["int8", "int8"]
    assert recipes(store, recipes=["float32"], model="its-new") == ["float32"]
    assert recipes(store, model="%") == []
    assert recipes(store, runtime="ai-edge-litert==2.1.6") == ["float32", "int8"] * 2
    assert recipes(store, runtime="tflite-runtime") == []
    assert recipes(store, equal={"threads": 1}, starts={"session": "ol"}) == ["float32", "int8"]
    assert recipes(store, since=datetime.fromtimestamp(STARTED_UNIX_NS / 1e9 + 0.5, UTC)) == ["float32", "int8"]


def test_only_rows_that_can_be_believed_are_listed_when_asked(store: ResultStore) -> None:
    shaky = run_report([[100_000] * 30] * 4 + [[160_000] * 30])
    store.record(
        [
            result("good"),
            result("shaky", run=shaky, job_id="b"),
            result("wrong", job_id="c", output_check="wrong"),
            result("unchecked", job_id="d", output_check=None),
        ]
    )
    assert sorted(str(name) for name in recipes(store, stable_only=True)) == ["good", "unchecked"]


def test_evidence_of_a_row_that_does_not_exist_is_an_error(store: ResultStore) -> None:
    with pytest.raises(TableError, match="no row 'abc'"):
        store.evidence("abc")


def test_damaged_evidence_is_an_error(store: ResultStore) -> None:
    row = result()
    store.record([row])
    with store._engine.begin() as connection:
        connection.execute(evidence.update().values(document=b"\x00\x11"))
    with pytest.raises(TableError, match="damaged"):
        store.evidence(row.id)


def test_the_migrations_give_exactly_the_schema(store: ResultStore) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with store._engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    migrations = Path(store_module.__file__).parent / "migrations"
    assert ScriptDirectory(str(migrations)).get_current_head() == REVISION


def test_other_programs_tables_in_the_same_database_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shared.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('v3.0.0.d')")
    with ResultStore.open(str(tmp_path / "shared.db")) as store:
        store.record([result()])
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("v3.0.0.d",)]
    connection.close()


def test_a_newer_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "table.db"
    ResultStore.open(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE edgepress_version SET version_num = '0999'")
    connection.close()
    with pytest.raises(TableError, match=r"newer edgepress \(its form is 0999.*upgrade edgepress"):
        ResultStore.open(str(path))


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, only its neighbour\n" * 50)
    with pytest.raises(TableError, match=r"notes\.txt cannot be used: file is not a database"):
        ResultStore.open(str(path))
    assert path.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://somebody:secret@host/x", "sqlite and postgresql are"),
        ("nonsense://:secret@", "sqlite and postgresql are"),
        ("postgresql://u:secret@host:port/x", "is no database URL"),
    ],
)
def test_an_impossible_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises((TableError, MissingPackageError)) as caught:
        ResultStore.open(url)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingPackageError, match=r"edgepress\[postgres\]"):
        ResultStore.open("postgresql://u:secret@127.0.0.1:1/x")


def test_an_up_to_date_table_is_listed_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "table.db"
    with ResultStore.open(str(path)) as store:
        store.record([result()])
    code = (
        "import sys; from edgepress.table.store import ResultStore; store = ResultStore.open(sys.argv[1]); "
        "assert len(store.rows()) == 1; print([m for m in ('alembic', 'tensorflow', 'paramiko') if m in sys.modules])"
    )
    listed = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]"


class TestDefaultPlace:
    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EDGEPRESS_DB", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.chdir(tmp_path)

    def test_is_the_users_data_folder_outside_projects(self, tmp_path: Path) -> None:
        assert default_url() == str(tmp_path / "data" / "edgepress" / "edgepress.db")

    @pytest.mark.parametrize("mark", ["devices.toml", "pyproject.toml", ".git", "edgepress.db"])
    def test_is_beside_a_project(self, tmp_path: Path, mark: str) -> None:
        (tmp_path / mark).touch()
        assert default_url() == str(tmp_path / "edgepress.db")

    def test_is_what_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEPRESS_DB", "postgresql://team@db/edgepress")
        assert default_url() == "postgresql://team@db/edgepress"

    def test_is_made_when_it_does_not_exist(self, tmp_path: Path) -> None:
        with ResultStore.open() as store:
            assert store.place == str(tmp_path / "data" / "edgepress" / "edgepress.db")
            assert store.rows() == ()
