"""Many processes write to one table, and some of them are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from edgepress.table.store import ResultStore

WRITERS = 8
KILLED = 3
ROWS_EACH = 15

# Says on stdout what it has recorded, as soon as record() has returned. Each call records two rows.
WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from edgepress.table.store import ResultStore
from support.table_rows import result
print("ready", flush=True)
sys.stdin.readline()
with ResultStore.open(sys.argv[1]) as store:
    for number in range(int(sys.argv[4])):
        job = f"{sys.argv[2]}-{number}"
        store.record([result("float32", job_id=job, position=0), result("int8", job_id=job, position=1)])
        print(job, flush=True)
"""


def test_nothing_is_lost_and_nothing_is_half_written(database: str) -> None:
    """All writers also race to create the database."""
    tests = Path(__file__).parents[2]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database, f"w{k}", str(tests), str(ROWS_EACH if k >= KILLED else 10**6)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        for k in range(WRITERS)
    ]
    said: list[str] = []
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers[:KILLED]:
        assert writer.stdout is not None
        said += [writer.stdout.readline().strip() for _ in range(10)]
        writer.send_signal(signal.SIGKILL)
    for k, writer in enumerate(writers):
        output, _ = writer.communicate(timeout=60)
        said += output.split()
        assert writer.returncode == (0 if k >= KILLED else -signal.SIGKILL)

    with ResultStore.open(database) as store:
        rows = store.rows()
        by_job: dict[str, set[str | None]] = {}
        for row in rows:
            by_job.setdefault(row.session, set()).add(row.recipe)
            assert len(store.evidence(row.id).run.processes) == 5
    assert set(said) <= set(by_job)
    assert all(recipes == {"float32", "int8"} for recipes in by_job.values())
    finished = [f"w{k}-{number}" for k in range(KILLED, WRITERS) for number in range(ROWS_EACH)]
    assert set(finished) <= set(by_job)
