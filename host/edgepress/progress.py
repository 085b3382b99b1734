"""How long work says where it stands. The library reports; only the command line draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar."""

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how much of ``total`` is done (the same unit for both), and what is happening."""


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, description: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Open a task; it closes with its ``with`` block. ``total`` None: nobody knows how long."""

    def note(self, message: str) -> None:
        """Say one sentence that stays on the screen."""


class _SilentTask:
    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        pass


class Silent:
    """Shows nothing: the default of the public API."""

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        del description, total
        yield _SilentTask()

    def note(self, message: str) -> None:
        pass
