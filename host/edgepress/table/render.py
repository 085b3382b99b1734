"""Rows as text, Markdown, CSV and JSON. ``terminal`` draws them with colours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

from rich.cells import cell_len

from edgepress.table.inert import csv_cell, markdown_cell
from edgepress.table.layout import Group, arrange
from edgepress.table.result import Result

Format = Literal["text", "markdown", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

# SCHEMA history. A change to a field that was there before needs a line; new fields do not:
#   1  first version
SCHEMA = 1


def render(rows: Sequence[Result], format: Format) -> str:
    """Return rows in one of :data:`FORMATS`, without a line end after the last line.

    ``text`` and ``markdown`` are for people and round; ``csv`` and ``json`` hold every field of
    :meth:`~edgepress.table.result.Result.as_row`, exactly.
    """
    return _RENDERERS[format](rows)


def _text(rows: Sequence[Result]) -> str:
    return "\n\n".join(_text_group(group) for group in arrange(rows)) or "no rows"


def _text_group(group: Group) -> str:
    lines = [[column.header for column in group.columns], *(list(texts) for texts in _texts(group))]
    widths = [max(map(cell_len, texts)) for texts in zip(*lines, strict=True)]
    return "\n".join([group.title, *(_text_line(texts, widths, group) for texts in lines), *group.notes])


def _text_line(texts: Sequence[str], widths: Sequence[int], group: Group) -> str:
    padded = []
    for text, width, column in zip(texts, widths, group.columns, strict=True):
        space = " " * (width - cell_len(text))  # not str.ljust: some characters are two cells wide
        padded.append(space + text if column.is_number else text + space)
    return "  ".join(padded).rstrip()


def _texts(group: Group) -> Iterator[tuple[str, ...]]:
    return zip(*([cell.text for cell in column.cells] for column in group.columns), strict=True)


def _markdown(rows: Sequence[Result]) -> str:
    return "\n\n".join(_markdown_group(group) for group in arrange(rows)) or "no rows"


def _markdown_group(group: Group) -> str:
    lines = [
        f"**{markdown_cell(group.title)}**",
        "",
        _markdown_line([markdown_cell(column.header) for column in group.columns]),
        _markdown_line(["---:" if column.is_number else "---" for column in group.columns]),
    ]
    lines += [_markdown_line([markdown_cell(text) for text in texts]) for texts in _texts(group)]
    if group.notes:
        lines += ["", *(f"- {markdown_cell(note)}" for note in group.notes)]
    return "\n".join(lines)


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(rows: Sequence[Result]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for number, row in enumerate(rows):
        values = row.as_row()
        values["warnings"] = " ".join(warning.code for warning in row.warnings)
        if number == 0:
            writer.writerow(values)
        writer.writerow(csv_cell(value) if isinstance(value, str) else value for value in values.values())
    return stream.getvalue().rstrip("\n")


def _json(rows: Sequence[Result]) -> str:
    return json.dumps({"schema": SCHEMA, "rows": [row.as_row() for row in rows]}, indent=2, allow_nan=False)


_RENDERERS: dict[Format, Callable[[Sequence[Result]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
