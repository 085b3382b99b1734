"""How long work says where it stands. The library reports; only the command line draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

Unit = Literal["steps", "bytes"]  # bytes are shown with their rate and the time that is left


class Task(Protocol):
    """One bar."""

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how much of ``total`` is done (the same unit for both), and what is happening."""


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, description: str, total: float | None = None, unit: Unit = "steps") -> AbstractContextManager[Task]:
        """Open a task; it closes with its ``with`` block. ``total`` None: nobody knows how long."""

    def note(self, message: str) -> None:
        """Say one sentence that stays on the screen."""


class _SilentTask:
    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        pass


class Silent:
    """Shows nothing: the default of the public API."""

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: Unit = "steps") -> Iterator[Task]:
        del description, total, unit
        yield _SilentTask()

    def note(self, message: str) -> None:
        pass
