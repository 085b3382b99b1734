"""Which rows stand in one table, which columns it has, and what the cells say: the same for every form of output.

Only rows measured under the same conditions share a table: another board, runtime, number of threads or data set gets
one of its own, and so does emulation. Sizes and times are related to the float32 row of the same session, never to one
measured another day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgepress.table.inert import printable
from edgepress.table.result import Result
from edgepress.table.units import format_duration, format_factor, format_metric, format_size, is_fraction

BASELINE_RECIPE = "float32"
NOTHING = "-"

_VERDICT_STYLES = {"stable": "green", "unstable": "yellow", "throttled": "red", "implausible": "bold red"}
_CHECK_STYLES = {"identical": "green", "within tolerance": "green", "as good": "green", "wrong": "bold red"}


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place, and in which colour where there are colours."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        short: the header where room is dear; a line end in it may stay.
        is_number: aligned to the right.
        dropped_as: in which order columns go when the terminal is too narrow, 0 first; None: never.
    """

    header: str
    cells: tuple[Cell, ...]
    short: str
    is_number: bool
    dropped_as: int | None


@dataclass(frozen=True)
class Group:
    """A table: rows measured under the same conditions, in columns, with numbered notes."""

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...]


def arrange(rows: Iterable[Result]) -> tuple[Group, ...]:
    """Put rows into tables, in the order in which their conditions first occur, emulated ones last."""
    by_conditions: dict[tuple[object, ...], list[Result]] = {}
    for row in rows:
        by_conditions.setdefault(_conditions(row), []).append(row)
    real_first = sorted(by_conditions.values(), key=lambda rows: rows[0].emulated)
    return tuple(_group(rows) for rows in real_first)


def _conditions(row: Result) -> tuple[object, ...]:
    return (
        row.physical_device,
        row.device,
        row.emulated,
        row.runtime,
        row.runtime_version,
        row.runtime_api,
        row.delegate,
        row.threads,
        row.governor,
        row.data_sha256,
        row.metric,
    )


def _group(rows: Sequence[Result]) -> Group:
    baselines = {(row.session, row.model): row for row in rows if row.recipe == BASELINE_RECIPE}

    def against_baseline(quotient: Callable[[Result, Result], float]) -> Callable[[Result], Cell]:
        def cell(row: Result) -> Cell:
            baseline = baselines.get((row.session, row.model))
            return Cell(format_factor(quotient(row, baseline))) if baseline else Cell(NOTHING)

        return cell

    notes = _Notes(rows)
    columns: list[Column] = []

    def add(
        header: str,
        cell: Callable[[Result], Cell],
        *,
        short: str | None = None,
        is_number: bool = True,
        dropped_as: int | None = None,
    ) -> None:
        columns.append(Column(header, tuple(cell(row) for row in rows), short or header, is_number, dropped_as))

    if len({row.session for row in rows}) > 1:
        add("measured", _time_cell, is_number=False, dropped_as=6)
    if len({row.model for row in rows}) > 1 or any(row.recipe is None for row in rows):
        add("model", lambda row: Cell(printable(row.model)), is_number=False)
    if any(row.recipe is not None for row in rows):
        add("recipe", lambda row: Cell(printable(row.recipe or NOTHING), "bold"), is_number=False)
    add("size", lambda row: Cell(format_size(row.tflite_bytes)))
    if baselines:
        size_ratio = against_baseline(lambda row, base: row.tflite_bytes / base.tflite_bytes)
        add("size vs float32", size_ratio, short="vs\nfloat32", dropped_as=2)
    if rows[0].metric is not None:
        metric = printable(rows[0].metric)
        short = "acc." if metric == "accuracy" else "metric"
        host, board = _metric_cells("host"), _metric_cells("board")
        add(f"{metric} on host", host, short=f"{short}\nhost", dropped_as=1)
        add(f"{metric} on board", board, short=f"{short}\nboard")
    add("p50", lambda row: Cell(format_duration(row.latency_p50_ns)))
    add("± of p50", _half_width_cell, short="±", dropped_as=0)
    add("p95", lambda row: Cell(format_duration(row.latency_p95_ns) if row.latency_p95_ns else NOTHING), dropped_as=4)
    add("peak memory", lambda row: Cell(format_size(row.peak_rss_bytes)), short="peak\nmemory", dropped_as=3)
    if baselines and not rows[0].emulated:
        speed_up = against_baseline(lambda row, base: base.latency_p50_ns / row.latency_p50_ns)
        add("speed-up", speed_up, short="speed-\nup", dropped_as=5)
    add("output check", _check_cell, short="output\ncheck", is_number=False)
    add("verdict", lambda row: Cell(printable(row.verdict), _VERDICT_STYLES.get(row.verdict, "")), is_number=False)
    if notes.texts:
        add("notes", lambda row: Cell(notes.numbers(row), "dim"), is_number=False)
    return Group(_title(rows), tuple(columns), notes.texts)


def _time_cell(row: Result) -> Cell:
    return Cell(row.created_at.astimezone().strftime("%Y-%m-%d %H:%M"), "dim")


def _metric_cells(place: Literal["host", "board"]) -> Callable[[Result], Cell]:
    def cell(row: Result) -> Cell:
        value = row.metric_value_host if place == "host" else row.metric_value_board
        return Cell(NOTHING if value is None else format_metric(value, row.metric or ""))

    return cell


def _half_width_cell(row: Result) -> Cell:
    low, high = row.latency_p50_low_ns, row.latency_p50_high_ns
    if low is None or high is None:
        return Cell(NOTHING)
    return Cell(f"{max(high - row.latency_p50_ns, row.latency_p50_ns - low) / row.latency_p50_ns:.1%}", "dim")


def _check_cell(row: Result) -> Cell:
    level = row.output_check
    if level is None:
        return Cell(NOTHING)
    return Cell("within tol." if level == "within tolerance" else printable(level), _CHECK_STYLES.get(level, ""))


def _title(rows: Sequence[Result]) -> str:
    row = rows[0]
    parts = [row.device]
    if row.board_model:
        parts.append(row.board_model)
    parts.append(f"{row.runtime} {row.runtime_version}" + (" without delegate" if row.delegate == "none" else ""))
    parts.append(f"{row.threads} thread" + ("s" if row.threads != 1 else ""))
    if row.governor:
        parts.append(f"governor {row.governor}")
    if row.metric is not None and row.metric_samples:
        parts.append(f"{row.metric} on {row.metric_samples} test samples" + _metric_half_width(rows))
    if row.emulated:
        parts.append("EMULATED: these times say nothing about real hardware")
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
