"""A PostgreSQL server of the tests' own, from Debian's package: no network, no settings of the machine's touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
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
    if shutil.which("setpriv") is None:
        return "setpriv is not here (apt-get install util-linux)"
    return None


class PostgresServer:
    """A running server; :meth:`new_database` gives tables of their own."""

    def __init__(self, sockets: Path) -> None:
        self._sockets = sockets

    def new_database(self) -> str:
        """Make an empty schema, which is quicker made than a database, and return the URL that leads into it."""
        import psycopg

        name = f"t{uuid4().hex[:12]}"
        with psycopg.connect(
            host=str(self._sockets), user="edgepress", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql://edgepress@/postgres?host={self._sockets}&options=-csearch_path%3D{name}"


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server on a socket in a temporary folder. It ends with the block or this process."""
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="edgepress-pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "edgepress", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(_as_postgres([*initdb, "--no-sync"]), check=True, stdout=subprocess.DEVNULL, cwd="/")
        settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off"]
        command = [programs / "postgres", "-D", data, *(word for setting in settings for word in ("-c", setting))]
        server = subprocess.Popen(_as_postgres(command), stderr=subprocess.PIPE, text=True, cwd="/")
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "ready to accept connections" in line:
                    break
            drain = threading.Thread(target=server.stderr.read)  # whoever writes into a full pipe waits for ever
            drain.start()
            try:
                yield PostgresServer(folder)
            finally:
                server.send_signal(signal.SIGQUIT)  # immediate shutdown
                drain.join()
        finally:
            server.kill()
            server.communicate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_postgres(command: Sequence[object]) -> list[str]:
    """A command that ends with this process, and that PostgreSQL does not take for root's."""
    words = ["setpriv", "--pdeathsig=SIGQUIT"]
    if os.getuid() == 0:
        words += ["--reuid=postgres", "--regid=postgres", "--init-groups"]
    return [*words, *map(str, command)]
