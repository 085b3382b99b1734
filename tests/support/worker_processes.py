"""Processes that tests of the converters' worker start, and how they see one end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DEADLINE_S = 30


@contextmanager
def host(script: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a script in a process group of its own, as a shell would; give it and the pid of the worker it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def ending(pid: int) -> Iterator[None]:
    """Assert that a process, alive at the beginning of the block, ends in consequence of it."""
    handle = os.pidfd_open(pid)
    try:
        assert not select.select([handle], [], [], 0)[0]
        yield
        assert select.select([handle], [], [], DEADLINE_S)[0], f"process {pid} lives on"
    finally:
        os.close(handle)
