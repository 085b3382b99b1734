"""Rows for a terminal: colours, and as many columns as it has room for."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from edgepress.table import layout
from edgepress.table.result import Result

_GAP = 2  # between columns: one of padding, one where other boxes have a line
_NAMES = ("model", "recipe")  # may be folded over several lines; numbers may not
_SHORTEST_NAME = 8


class ResultTable:
    """A rich renderable of rows: one table per set of conditions.

    In a narrow terminal whole columns go, the least needed first, and a line names them: half a number is none.
    """

    def __init__(self, rows: Sequence[Result], chosen: layout.Layout | None = None) -> None:
        self._groups = layout.arrange(rows, chosen)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._groups:
            yield Text("no rows", style="dim")
        for number, group in enumerate(self._groups):
            if number:
                yield Text()
            yield _draw(group, options.max_width)


def _draw(group: layout.Group, width: int) -> Group:
    columns = list(group.columns)
    dropped: list[layout.Column] = []
    droppable = sorted((c for c in columns if c.dropped_as is not None), key=lambda c: c.dropped_as or 0, reverse=True)
    while droppable and _natural_width(columns) > width:
        dropped.append(droppable.pop())
        columns.remove(dropped[-1])
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in columns:
        is_name = column.header in _NAMES
        folds = is_name or column.folds
        table.add_column(
            Text(column.short),
            justify="right" if column.is_number else "left",
            vertical="bottom",
            no_wrap=not folds,
            overflow="fold",
            min_width=_SHORTEST_NAME if is_name else _width(column),
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell.text, style=cell.style) for cell in cells))
    below = [Text(note, style="dim") for note in group.notes]
    if dropped:
        names = ", ".join(column.header for column in dropped)
        below.append(Text(f"too narrow for: {names} (see --format)", style="dim italic"))
    return Group(Text(group.title, style="bold"), table, *below)


def _natural_width(columns: Sequence[layout.Column]) -> int:
    return sum(_width(column) for column in columns) + _GAP * (len(columns) - 1)


def _width(column: layout.Column) -> int:
    texts = [*column.short.split("\n"), *(cell.text for cell in column.cells)]
    if column.folds:
        texts = [word for text in texts for word in text.split()]
    return max(cell_len(text) for text in texts)
