"""How the table behaves with 100,000 rows (or more) of 20 boards: `benchmarks/table_scale.py [--rows N ...]`.

Makes the data: sessions of 25 rows as the `quick` plan leaves them at the least (5 processes of 40 samples; longer runs
weigh 1.2 bytes a sample more). The first 2,000 rows are stored as `edgepress run` does it, and timed; the others are
put in as they would lie there, in bulk. Then it times what people wait for, each question five times in a process of
its own, from after start-up (imports, which `edgepress --help` pays, too) to the last line printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from edgepress.table.database import writing  # noqa: E402
from edgepress.table.evidence import encode_evidence  # noqa: E402
from edgepress.table.recording import MetricValue, Subject, result_of_run  # noqa: E402
from edgepress.table.result import COLUMNS, Result, content_hash  # noqa: E402
from edgepress.table.schema import evidence, results  # noqa: E402
from edgepress.table.store import ResultStore  # noqa: E402
from support import postgres  # noqa: E402
from support.table_rows import FACTS, STARTED_UNIX_NS, job_report, run_report, tflite_model  # noqa: E402

BOARDS = 20
MODELS = 5
RECIPES = ("float32", "dynamic", "int8", "prune50-int8", "svd-int8")
SESSION_ROWS = MODELS * len(RECIPES)
VARIANTS = 20
STORED_AS_RUNS_DO = 2000
REPETITIONS = 5

# Run in a process of its own; prints seconds of the work, imports excluded.
QUESTION = """
import io, json, sys, time, contextlib
from edgepress.cli.main import cli
from edgepress.cli import compare, filters, printing, table, table_history
from edgepress.table import comparison, comparison_text, history, layout, render, selection, store, terminal
arguments = json.loads(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()) as out:
    started = time.perf_counter()
    cli.main(arguments, standalone_mode=False)
    took = time.perf_counter() - started
print(json.dumps([took, len(out.getvalue())]))
"""


def made_rows(count: int) -> Iterator[Result]:
    """Sessions of all models and recipes, board by board, day by day; samples are one of 20 sets for each recipe."""
    rng = random.Random(0)
    templates = [
        [_template(rng, recipe, model) for recipe in RECIPES for model in range(MODELS)] for _ in range(VARIANTS)
    ]
    made = 0
    for day in itertools.count():
        commit = hashlib.sha1(str(day).encode(), usedforsecurity=False).hexdigest()
        for board in range(BOARDS):
            session = f"2026-{day:05d}-{board:02d}"
            ended = STARTED_UNIX_NS + (day * BOARDS + board) * 3600 * 10**9
            for position, base in enumerate(templates[rng.randrange(VARIANTS)]):
                if made == count:
                    return
                made += 1
                yield dataclasses.replace(
                    base,
                    device=f"board-{board:02d}",
                    physical_device=f"{board:064x}",
                    session=session,
                    position=position,
                    project_commit=commit,
                    created_unix_ns=ended,
                )


def _template(rng: random.Random, recipe: str, model: int) -> Result:
    level = (2 + model) * 1_000_000 * (1 + 0.3 * RECIPES.index(recipe)) * (1 + rng.gauss(0, 0.008))
    samples = [
        [round(level * (1 + rng.gauss(0, 0.004) + rng.expovariate(1) * 0.006)) for _ in range(40)] for _ in range(5)
    ]
    run = run_report(samples, model_sha256=hashlib.sha256(f"{model}{recipe}".encode()).hexdigest())
    return dataclasses.replace(_row(run, FACTS, "board", recipe), model=f"model-{model}")


def _row(run: object, facts: object, device: str, recipe: str) -> Result:
    job = job_report(run, facts=facts)  # type: ignore[arg-type]
    sha256 = run.configuration.model_sha256  # type: ignore[attr-defined]
    subject = Subject(
        model="model",
        recipe=recipe,
        recipe_id=content_hash(recipe)[:12],
        compression={"recipe": {"name": recipe, "step": [], "convert": {"format": "int8"}}},
        data_sha256="ef" * 32,
        training_seed=0,
        metric="accuracy",
        metric_higher_is_better=True,
        metric_samples=500,
        host_metric=MetricValue(0.97, 0.95, 0.98),
        board_metric=MetricValue(0.97, 0.95, 0.98),
        output_check="identical",
        project="0" * 40,
    )
    return result_of_run(run, job, tflite_model(sha256), subject, device)  # type: ignore[arg-type]


def fill(url: str, count: int) -> float:
    """Store rows; return milliseconds a row of those that were stored as runs store them, a session at a time."""
    rows = made_rows(count)
    with ResultStore.open(url) as store:
        slow = list(itertools.islice(rows, min(STORED_AS_RUNS_DO, count)))
        started = time.perf_counter()
        for first in range(0, len(slow), SESSION_ROWS):
            store.record(slow[first : first + SESSION_ROWS])
        took = time.perf_counter() - started
        documents: dict[int, bytes] = {}
        while batch := list(itertools.islice(rows, 5000)):
            for row in batch:
                assert row.evidence is not None
                if id(row.evidence) not in documents:
                    documents[id(row.evidence)] = encode_evidence(row.evidence)
            with writing(store._engine) as connection:
                values = [
                    {"id": row.id, "key": row.key, "warnings": [], **{name: getattr(row, name) for name in COLUMNS}}
                    for row in batch
                ]
                connection.execute(results.insert(), values)
                proofs = [
                    {"result_id": value["id"], "document": documents[id(row.evidence)]}
                    for value, row in zip(values, batch, strict=True)
                ]
                connection.execute(evidence.insert(), proofs)
        if store._engine.dialect.name == "postgresql":
            with store._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE")  # as autovacuum does within a minute
    return 1000 * took / len(slow)


def ask(url: str, *arguments: str, repetitions: int = REPETITIONS) -> tuple[float, float, int]:
    """Median and largest seconds of a command, and how much it printed."""
    answers = []
    for _ in range(repetitions):
        done = subprocess.run(
            [sys.executable, "-c", QUESTION, json.dumps([*arguments, "--db", url])],
            capture_output=True,
            text=True,
            check=True,
            cwd=tempfile.gettempdir(),
        )
        answers.append(json.loads(done.stdout))
    times = [took for took, _ in answers]
    return statistics.median(times), max(times), answers[0][1]


def questions(last_day: int) -> dict[str, tuple[str, ...]]:
    commits = [
        hashlib.sha1(str(day).encode(), usedforsecurity=False).hexdigest()[:12] for day in (last_day - 1, last_day)
    ]
    return {
        "`table --device X`": ("table", "--device", "board-07"),
        "`table --device X --stable-only --limit 500`": (
            "table", "--device", "board-07", "--stable-only", "--limit", "500",
        ),
        "`compare` two recipes on a board (5 pairs)": (
            "compare", "recipe:float32,device:board-07", "recipe:int8,device:board-07",
        ),
        "`compare` two commits on a board (25 pairs)": (
            "compare", f"commit:{commits[0]},device:board-07", f"commit:{commits[1]},device:board-07",
        ),
        "`compare` two recipes, all boards (100 pairs)": ("compare", "float32", "int8"),
        "`table history --device X`": ("table", "history", "--device", "board-07"),
        "`table history`, one model, all boards": ("table", "history", "--model", "model-3", "--recipe", "int8"),
    }  # fmt: skip


def measure(name: str, url: str, count: int, size_of: object) -> list[str]:
    """Fill a database and time the questions; return lines of the report."""
    print(f"{name}: {count:,} rows ...", file=sys.stderr, flush=True)
    row_ms = fill(url, count)
    size = size_of()  # type: ignore[operator]
    last_day = (count - 1) // (BOARDS * SESSION_ROWS)
    lines = [
        f"| {name} | storing, a session of 25 at a time | {count:,} | {row_ms:.2f} ms a row | |",
        f"| {name} | size | {count:,} | {size / count:,.0f} bytes a row ({size / 2**20:,.0f} MiB) | |",
    ]
    for question, arguments in questions(last_day).items():
        median, worst, printed = ask(url, *arguments)
        lines.append(f"| {name} | {question} | {count:,} | {median:.3f} s | {worst:.3f} s |")
        print(f"  {question}: {median:.3f} s ({printed:,} characters)", file=sys.stderr, flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    arguments = parser.parse_args()
    lines: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="edgepress-scale-"))
    try:
        for count in arguments.rows:
            if arguments.database != "postgresql":
                path = folder / f"{count}.db"

                def size_of(name: str = path.name) -> int:
                    return sum(part.stat().st_size for part in folder.glob(f"{name}*") if part.is_file())

                lines += measure("SQLite", str(path), count, size_of)
                for file in folder.glob(f"{count}.db*"):
                    file.unlink()
            if arguments.database != "sqlite":
                reason = postgres.missing()
                if reason:
                    print(f"PostgreSQL left out: {reason}", file=sys.stderr)
                    continue
                with postgres.running_server() as server:
                    url = server.new_database()
                    lines += measure("PostgreSQL", url, count, lambda url=url: _postgres_bytes(url))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"Command: `python {' '.join(sys.argv)}`, {time.strftime('%Y-%m-%d')}")
    print(
        f"Machine: {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, PostgreSQL {_postgres_version()}\n"
    )
    print("| database | what | rows | median | slowest of 5 |\n|---|---|---:|---:|---:|")
    print("\n".join(lines))


def _postgres_bytes(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        ).fetchone()
        assert row is not None
        return int(row[0])


def _postgres_version() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        return "none"
    return subprocess.run([str(found[-1]), "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


if __name__ == "__main__":
    main()
