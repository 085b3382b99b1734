"""A PostgreSQL server of the tests' own, from Debian's package: no network, no settings of the machine's touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def missing() -> str | None:
    """Why there can be no server here; None when there can."""
    if _programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed (pip install 'edgepress[postgres]')"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and setpriv is not here"
    return None


class PostgresServer:
    """A running server; :meth:`new_database` gives databases of their own."""

    def __init__(self, sockets: Path) -> None:
        self._sockets = sockets

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        import psycopg

        name = f"t{uuid4().hex[:12]}"
        with psycopg.connect(
            host=str(self._sockets), user="edgepress", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://edgepress@/{name}?host={self._sockets}"


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server on a socket in a temporary folder; stop it when the block ends."""
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="edgepress-pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        _run(programs / "initdb", "-D", data, "-U", "edgepress", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        _run(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", " ".join(options), "start")
        try:
            yield PostgresServer(folder)
        finally:
            _run(programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _run(*command: object) -> None:
    argv = [str(word) for word in command]
    if os.getuid() == 0:
        argv = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *argv]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd="/")
