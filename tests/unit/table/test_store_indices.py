"""What people ask every day is found by an index, however long the table has become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from edgepress.table.store import ResultStore
from support.table_rows import result

QUESTIONS: dict[str, Callable[[ResultStore], object]] = {
    "newest rows": lambda store: store.rows(limit=50),
    "rows of a device": lambda store: store.rows(devices=["pi4"], limit=50),
    "rows of recipes": lambda store: store.rows(recipes=["int8", "float32"], limit=50),
    "rows of a model": lambda store: store.rows(equal={"model": "digits"}, limit=50),
    "rows of a commit": lambda store: store.rows(starts={"project_commit": "1a2b3c4"}, limit=50),
    "rows of a session": lambda store: store.rows(starts={"session": "job"}, limit=50),
    "rows of a file": lambda store: store.rows(equal={"model_sha256": "cd" * 32}, limit=50),
    "a row": lambda store: store.rows(starts={"id": "ab"}, limit=50),
    "samples of a row": lambda store: store.evidence(store.rows(limit=1)[0].id),
    "figures of files": lambda store: store.figures(["cd" * 32, "ef" * 32]),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_the_whole_table(sqlite_store: ResultStore, question: str) -> None:
    sqlite_store.record([result("int8", job_id=f"job-{number}") for number in range(2)])
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    sa.event.listen(sqlite_store._engine, "before_cursor_execute", note)
    QUESTIONS[question](sqlite_store)
    sa.event.remove(sqlite_store._engine, "before_cursor_execute", note)
    assert asked
    with sqlite_store._engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            for *_ids, step in plan:
                newest = "WHERE" not in statement and "SCAN" in step and "USING INDEX" in step  # and ends at the limit
                assert newest or "SEARCH" in step or "TEMP B-TREE" in step, (question, plan)
