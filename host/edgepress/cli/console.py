"""Progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import click

from edgepress.progress import Progress, Task

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

WORTH_A_LINE_S = 1.0  # a task that took less leaves no trace


def make_progress() -> AbstractContextManager[Progress]:
    """Bars on a terminal; one line after each longer task elsewhere (logs, CI)."""
    return _bars() if sys.stderr.isatty() else _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
        console=Console(stderr=True),
    )
    with bars:
        yield _TerminalProgress(bars)


@contextmanager
def _lines() -> Iterator[Progress]:
    yield _LineProgress()


class _TerminalProgress:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        started = time.monotonic()
        bar = self._bars.add_task(description, total=total, message="")
        try:
            yield _TerminalTask(self._bars, bar)
        finally:
            self._bars.remove_task(bar)
        if (duration_s := time.monotonic() - started) >= WORTH_A_LINE_S:
            self.note(f"{description}: {duration_s:.1f} s")

    def note(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, style="dim")


class _TerminalTask:
    def __init__(self, bars: Bars, bar: TaskID) -> None:
        self._bars = bars
        self._bar = bar

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self._bars.update(self._bar, completed=done, total=total)
        if message is not None:
            self._bars.update(self._bar, message=message)


class _LineProgress:
    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        del total
        started = time.monotonic()
        yield _LineTask()
        if (duration_s := time.monotonic() - started) >= WORTH_A_LINE_S:
            self.note(f"{description}: {duration_s:.1f} s")

    def note(self, message: str) -> None:
        click.echo(message, err=True)


class _LineTask:
    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        pass
