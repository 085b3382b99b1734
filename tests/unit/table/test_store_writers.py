"""Many processes write to one table, and some of them are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from edgepress.table.store import ResultStore

WRITERS = 8
KILLED = 3
ROWS_EACH = 15

# Forks the writers, so that what they all import is imported once; prints their process ids, and in the end how they
# ended. A writer says on a pipe of its own what it has recorded, as soon as record() has returned.
FARM = """
import json, os, sys
import alembic.command, alembic.config
sys.path.insert(0, sys.argv[2])
from edgepress.table.store import ResultStore
from support.table_rows import result

def write(name, calls, pipe):
    with ResultStore.open(sys.argv[1]) as store:
        for number in range(calls):
            job = f"{name}-{number}"
            store.record([result("float32", job_id=job, position=0), result("int8", job_id=job, position=1)])
            os.write(pipe, f"{job}\\n".encode())

writers = []
for number, (pipe, calls) in enumerate(json.loads(sys.argv[3])):
    writers.append(os.fork())
    if writers[-1] == 0:
        sys.stdin.readline()
        write(f"w{number}", calls, pipe)
        os._exit(0)
for pipe, _ in json.loads(sys.argv[3]):
    os.close(pipe)
print(json.dumps(writers), flush=True)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) for writer in writers]))
"""


def test_nothing_is_lost_and_nothing_is_half_written(database: str) -> None:
    """All writers also race to create the database."""
    calls = [10**6] * KILLED + [ROWS_EACH] * (WRITERS - KILLED)
    pipes = [os.pipe() for _ in calls]
    for_writers = [(write_end, count) for (_, write_end), count in zip(pipes, calls, strict=True)]
    argv = [sys.executable, "-c", FARM, database, str(Path(__file__).parents[2]), json.dumps(for_writers)]
    farm = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[pipe for pipe, _ in for_writers]
    )
    for write_end, _ in for_writers:
        os.close(write_end)
    outputs = [os.fdopen(read_end) for read_end, _ in pipes]
    assert farm.stdin is not None
    assert farm.stdout is not None
    processes = json.loads(farm.stdout.readline())
    farm.stdin.close()  # all wait for it
    said: list[str] = []
    for process, output in zip(processes[:KILLED], outputs, strict=False):
        said += [output.readline().strip() for _ in range(10)]
        os.kill(process, signal.SIGKILL)
    for output in outputs:
        with output:
            said += output.read().split()
    with farm.stdout:
        ended = json.loads(farm.stdout.read())
    assert farm.wait(timeout=60) == 0
    assert ended == [-signal.SIGKILL] * KILLED + [0] * (WRITERS - KILLED)

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
