"""Rows as text, Markdown, LaTeX, CSV and JSON. ``terminal`` draws them with colours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

from rich.cells import cell_len

from edgepress.table.inert import csv_cell, latex_text, markdown_cell, printable
from edgepress.table.layout import SORTS, Group, Layout, arrange
from edgepress.table.result import COLUMNS, Result

Format = Literal["text", "markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

# SCHEMA history. A change to a field that was there before needs a line; new fields do not:
#   1  first version
SCHEMA = 1


def render(rows: Sequence[Result], format: Format, layout: Layout | None = None) -> str:
    """Return rows in one of :data:`FORMATS`, without a line end after the last line.

    ``text``, ``markdown`` and ``latex`` are for people and round; ``csv`` and ``json`` hold every field of
    :meth:`~edgepress.table.result.Result.as_row`, exactly, of every row: nothing is grouped or folded there. Of the
    layout they take the order, and the columns that are fields.
    """
    chosen = layout or Layout()
    if format in _OF_GROUPS:
        groups = arrange(rows, chosen)
        return "\n\n".join(_OF_GROUPS[format](group) for group in groups) or "no rows"
    if chosen.sort is not None:
        rows = sorted(rows, key=lambda row: SORTS[chosen.sort or "time"](row))
    return _OF_FIELDS[format]([_fields(row, chosen) for row in rows])


_ALWAYS = ("id", "output_check", "verdict", "warnings")


def _fields(row: Result, layout: Layout) -> dict[str, Any]:
    fields = row.as_row()
    named = {name for name in layout.columns if name in COLUMNS}
    return {name: value for name, value in fields.items() if not named or name in named or name in _ALWAYS}


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


def _latex_group(group: Group) -> str:
    """For the package booktabs."""
    alignment = "".join("r" if column.is_number else "l" for column in group.columns)
    lines = [
        f"% {printable(group.title)}",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        _latex_line([column.header for column in group.columns]),
        "\\midrule",
        *(_latex_line(texts) for texts in _texts(group)),
        "\\bottomrule",
        "\\end{tabular}",
        *(f"% {printable(note)}" for note in group.notes),
    ]
    return "\n".join(lines)


def _latex_line(texts: Sequence[str]) -> str:
    return " & ".join(latex_text(text) for text in texts) + r" \\"


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for number, fields in enumerate(rows):
        values = {**fields, "warnings": " ".join(warning["code"] for warning in fields["warnings"])}
        if number == 0:
            writer.writerow(values)
        writer.writerow(csv_cell(value) if isinstance(value, str) else value for value in values.values())
    return stream.getvalue().rstrip("\n")


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"schema": SCHEMA, "rows": rows}, indent=2, allow_nan=False)


_OF_GROUPS: dict[Format, Callable[[Group], str]] = {
    "text": _text_group,
    "markdown": _markdown_group,
    "latex": _latex_group,
}
_OF_FIELDS: dict[Format, Callable[[Sequence[dict[str, Any]]], str]] = {"csv": _csv, "json": _json}
