"""Progress on stderr, and questions to the person in front of it."""

from __future__ import annotations

import atexit
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import click

from edgepress.progress import Progress, Task, Unit

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

WORTH_A_LINE_S = 1.0  # a task that took less leaves no trace

_shown: list[Bars] = []  # bars that move now, and have to stand still for a question


def make_progress() -> AbstractContextManager[Progress]:
    """Bars on a terminal; one line after each longer task elsewhere (logs, CI).

    Meanwhile stdout is stderr: what users' code prints is no part of the result.
    """
    return _bars() if sys.stderr.isatty() else _lines()


def ask_secret(question: str) -> str:
    """Ask for a passphrase or password on the terminal; "" when none is given."""
    # The question may be asked in another thread than the one that a Ctrl-C ends: leave no terminal without its echo.
    atexit.register(termios.tcsetattr, sys.stdin, termios.TCSADRAIN, termios.tcgetattr(sys.stdin))
    for bars in _shown:
        bars.stop()
    answer: str = click.prompt(question, hide_input=True, default="", show_default=False, err=True)
    for bars in _shown:
        bars.start()
    return answer


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars
    from rich.progress import Task as Row
    from rich.table import Table

    class Amount(ProgressColumn):
        """How much is done; of bytes also how fast, and how long the rest will take."""

        transfer = (DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
        count = MofNCompleteColumn()

        def render(self, task: Row) -> RenderableType:
            if task.fields["unit"] != "bytes":
                return self.count(task)
            row = Table.grid(padding=(0, 1))
            row.add_row(*(column(task) for column in self.transfer))
            return row

    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Amount(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
        console=Console(stderr=True),
    )
    with bars:
        _shown.append(bars)
        try:
            yield _TerminalProgress(bars)
        finally:
            _shown.remove(bars)


@contextmanager
def _lines() -> Iterator[Progress]:
    with redirect_stdout(sys.stderr):  # as the bars do
        yield _LineProgress()


class _TerminalProgress:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: Unit = "steps") -> Iterator[Task]:
        started = time.monotonic()
        bar = self._bars.add_task(description, total=total, message="", unit=unit)
        task = _TerminalTask(self._bars, bar)
        try:
            yield task
        finally:
            self._bars.remove_task(bar)
        if (duration_s := time.monotonic() - started) >= WORTH_A_LINE_S:
            self.note(_summary(description, duration_s, task.moved, unit))

    def note(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, style="dim")


class _LineTask:
    """Remembers how far a task has come since its first word; ``moved`` is what it has done itself."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.moved = 0.0

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        del total, message
        if self._first is None:
            self._first = done
        self.moved = done - self._first


class _TerminalTask(_LineTask):
    def __init__(self, bars: Bars, bar: TaskID) -> None:
        super().__init__()
        self._bars = bars
        self._bar = bar

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        if self._first is None:  # what an earlier upload has left is not this one's speed
            self._bars.reset(self._bar, completed=int(done))
        super().update(done, total, message)
        self._bars.update(self._bar, completed=done, total=total)
        if message is not None:
            self._bars.update(self._bar, message=message)


class _LineProgress:
    @contextmanager
    def task(self, description: str, total: float | None = None, unit: Unit = "steps") -> Iterator[Task]:
        del total
        started = time.monotonic()
        task = _LineTask()
        yield task
        if (duration_s := time.monotonic() - started) >= WORTH_A_LINE_S:
            self.note(_summary(description, duration_s, task.moved, unit))

    def note(self, message: str) -> None:
        click.echo(message, err=True)


def _summary(description: str, duration_s: float, moved: float, unit: Unit) -> str:
    rate = f" ({moved / 2**20 / duration_s:.1f} MiB/s)" if unit == "bytes" else ""
    return f"{description}: {duration_s:.1f} s{rate}"
