"""Which rows stand in one table, which columns it has, and what the cells say: the same for every form of output.

Only rows measured under the same conditions share a table: another board, runtime, number of threads, governor or data
set gets one of its own, and so do emulation and rows of other tools. Whoever wants them in one table says so, and the
table says it too. Sizes and times are related to the float32 row of the same session, never to one measured another
day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from edgepress.errors import TableError
from edgepress.table.columns import ALWAYS, CATALOGUE, Cell, Context, Spec, field_column, standard_columns
from edgepress.table.conditions import group_alike, unlike
from edgepress.table.inert import printable
from edgepress.table.marks import marks, metric_value
from edgepress.table.result import COLUMNS, MEASURED, Result
from edgepress.table.seeds import Line, fold_seeds, single_lines
from edgepress.table.units import is_fraction

__all__ = ["Cell", "Column", "Group", "Layout", "arrange"]

SORTS: dict[str, Callable[[Result], tuple[bool, float | str]]] = {
    "time": lambda row: (False, row.created_unix_ns),
    "model": lambda row: (False, row.model),
    "recipe": lambda row: (row.recipe is None, row.recipe or ""),
    "size": lambda row: (False, row.tflite_bytes),
    "metric": lambda row: (
        (value := metric_value(row)) is None,
        -(value or 0.0) if row.metric_higher_is_better else (value or 0.0),
    ),
    "p50": lambda row: (False, row.latency_p50_ns),
    "p95": lambda row: (row.latency_p95_ns is None, row.latency_p95_ns or 0),
    "memory": lambda row: (row.peak_rss_bytes is None, row.peak_rss_bytes or 0),
}
"""By what the rows of a table can be sorted, the best first; what is not known comes last."""


@dataclass(frozen=True)
class Layout:
    """How rows are to be put into tables.

    Attributes:
        sort: a key of :data:`SORTS`; None: by time.
        columns: names of :data:`~edgepress.table.columns.CATALOGUE` or fields of a row; empty: what fits the rows. The
            verdict and the output check are always there.
        mix: conditions (:data:`~edgepress.table.conditions.CONDITIONS`) that may differ inside one table.
        fold_seeds: rows that differ only in their training seed become one line.
    """

    sort: str | None = None
    columns: tuple[str, ...] = ()
    mix: frozenset[str] = frozenset()
    fold_seeds: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in CATALOGUE and name not in COLUMNS]
        if unknown:
            raise TableError(
                f"no column {unknown[0]!r}; there are {', '.join(CATALOGUE)}, and the fields of a row that "
                "`edgepress table --json` prints"
            )


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        short: the header where room is dear; a line end in it may stay.
        is_number: aligned to the right.
        dropped_as: in which order columns go when the terminal is too narrow, 0 first; None: never.
        folds: its cells are words that may stand in several lines.
    """

    header: str
    cells: tuple[Cell, ...]
    short: str
    is_number: bool
    dropped_as: int | None
    folds: bool = False


@dataclass(frozen=True)
class Group:
    """A table: rows measured under the same conditions, in columns, with numbered notes."""

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def arrange(rows: Iterable[Result], layout: Layout | None = None) -> tuple[Group, ...]:
    """Put rows into tables, in the order in which their conditions first occur, emulated ones last."""
    chosen = layout or Layout()
    return tuple(_group(rows, chosen) for rows in group_alike(rows, chosen.mix))


def _group(rows: Sequence[Result], layout: Layout) -> Group:
    lines = list(fold_seeds(rows) if layout.fold_seeds else single_lines(rows))
    if layout.sort is not None:
        lines.sort(key=lambda line: SORTS[layout.sort or "time"](line.row))
    shown = [line.row for line in lines]
    mixed = unlike(shown)
    notes = _Notes(shown)
    # Rows that are not alike are shown together when asked, but none of them is called the best.
    context = Context(tuple(lines), {} if mixed else marks(shown), tuple(mixed), notes.numbers, bool(notes.texts))
    names = (*(n for n in layout.columns if n not in ALWAYS), *ALWAYS) if layout.columns else standard_columns(context)
    specs = [CATALOGUE[name](context) if name in CATALOGUE else field_column(name) for name in names]
    columns = tuple(_column(spec, lines) for spec in specs)
    return Group(_title(shown, lines, mixed), columns, notes.texts)


def _column(spec: Spec, lines: Sequence[Line]) -> Column:
    cells = tuple(spec.cell(line) for line in lines)
    return Column(spec.header, cells, spec.short or spec.header, spec.is_number, spec.dropped, spec.folds)


def _title(rows: Sequence[Result], lines: Sequence[Line], mixed: Collection[str]) -> str:
    row = rows[0]
    parts = []
    if "device" not in mixed:
        parts.append(row.device)
        board = row.board_model or row.cpu_model
        parts += [board] if board else []
    if "runtime" not in mixed:
        without = " without delegate" if row.delegate == "none" else ""
        parts.append(f"{row.runtime} {row.runtime_version}{without}")
    if "threads" not in mixed:
        parts.append(f"{row.threads} thread" + ("s" if row.threads != 1 else ""))
    if row.governor and "governor" not in mixed:
        parts.append(f"governor {row.governor}")
    if row.metric is not None and row.metric_samples and "data" not in mixed:
        seeds = max(line.seeds for line in lines)
        over = f" and {seeds} seeds" if seeds > 1 else ""
        parts.append(f"{row.metric} on {row.metric_samples} test samples{over}" + _metric_half_width(rows))
    if row.origin != MEASURED and "origin" not in mixed:
        parts.append(f"FOREIGN: measured by {row.origin}, nothing of it was checked")
    if any(r.emulated for r in rows):
        parts.append("EMULATED: these times say nothing about real hardware")
    if mixed:
        parts.append(f"MIXED: rows differ in {', '.join(mixed)}; none is called the best")
    return " · ".join(printable(part) for part in parts)


def _metric_half_width(rows: Sequence[Result]) -> str:
    """How far a metric may be off by the choice of the samples, at most, over the rows."""
    widths = [
        max(high - value, value - low)
        for row in rows
        for value, low, high in (
            (row.metric_value_host, row.metric_low_host, row.metric_high_host),
            (row.metric_value_board, row.metric_low_board, row.metric_high_board),
        )
        if value is not None and low is not None and high is not None
    ]
    if not widths:
        return ""
    return f" (±{100 * max(widths):.1f} pp)" if is_fraction(rows[0].metric or "") else f" (±{max(widths):.2g})"


class _Notes:
    """Warnings of a table as numbered notes, one per kind: a hundred rows on a busy board give one sentence."""

    def __init__(self, rows: Sequence[Result]) -> None:
        first: dict[str, str] = {}
        rows_with: dict[str, int] = {}
        for row in rows:
            for warning in row.warnings:
                first.setdefault(warning.code, warning.message)
            for code in {warning.code for warning in row.warnings}:
                rows_with[code] = rows_with.get(code, 0) + 1
        self._numbers = {code: number for number, code in enumerate(first, 1)}
        self.texts = tuple(
            f"{self._numbers[code]} {printable(code)}: {printable(message)}"
            + (f" (the first of {rows_with[code]} rows)" if rows_with[code] > 1 else "")
            for code, message in first.items()
        )

    def numbers(self, row: Result) -> str:
        found = sorted({self._numbers[warning.code] for warning in row.warnings})
        return " ".join(map(str, found))
