"""The columns that a table can have, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgepress.table.conditions import conditions_of
from edgepress.table.inert import printable
from edgepress.table.marks import PARETO
from edgepress.table.result import Result
from edgepress.table.seeds import Line
from edgepress.table.units import format_duration, format_factor, format_metric, format_size

BASELINE_RECIPE = "float32"
NOTHING = "-"
PARETO_SIGN = "◆"
ALWAYS = ("check", "verdict")
"""No choice of columns hides whether a row can be believed."""

_VERDICT_STYLES = {"stable": "green", "unstable": "yellow", "throttled": "red", "implausible": "bold red"}
_CHECK_STYLES = {"identical": "green", "within tolerance": "green", "as good": "green", "wrong": "bold red"}


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place, and in which colour where there are colours."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Context:
    """What a column knows of the table it stands in: its lines, marks by row id, conditions in which rows differ."""

    lines: tuple[Line, ...]
    marks: Mapping[str, tuple[str, ...]]
    mixed: tuple[str, ...]
    notes: Callable[[Result], str]
    has_notes: bool

    @property
    def baselines(self) -> dict[tuple[object, ...], Result]:
        """The float32 row of each session, model, training seed and set of conditions."""
        return {_related(line.row): line.row for line in self.lines if line.row.recipe == BASELINE_RECIPE}


@dataclass(frozen=True)
class Spec:
    """A column before its cells: see :class:`edgepress.table.layout.Column`."""

    header: str
    cell: Callable[[Line], Cell]
    short: str = ""
    is_number: bool = True
    dropped: int | None = None
    folds: bool = False


def standard_columns(context: Context) -> tuple[str, ...]:
    """The columns that say something about these lines, in the order in which people decide."""
    rows = [line.row for line in context.lines]
    has_metric = any(row.metric is not None for row in rows)
    has_baseline = bool(context.baselines)
    wanted = {
        "measured": len({row.session for row in rows}) > 1,
        **{name: name in context.mixed for name in ("device", "runtime", "threads", "governor", "emulated", "data")},
        "origin": "origin" in context.mixed,
        "model": len({row.model for row in rows}) > 1 or any(row.recipe is None for row in rows),
        "recipe": any(row.recipe is not None for row in rows),
        "size": True,
        "size-ratio": has_baseline,
        "metric-host": has_metric,
        "metric-board": has_metric,
        "p50": True,
        "interval": True,
        "p95": True,
        "memory": True,
        "speed-up": has_baseline and not any(row.emulated for row in rows),
        "best": bool(context.marks),
        "check": True,
        "verdict": True,
        "notes": context.has_notes,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def field_column(name: str) -> Spec:
    """A column for any field of a row, exact, under the field's own name."""

    def cell(line: Line) -> Cell:
        value = getattr(line.row, name)
        return Cell(NOTHING if value is None else printable(str(value)))

    return Spec(name, cell, is_number=name.endswith(("_ns", "_bytes")) or name.startswith("metric_value"))


def _measured(_: Context) -> Spec:
    return Spec(
        "measured",
        lambda line: Cell(line.row.created_at.astimezone().strftime("%Y-%m-%d %H:%M"), "dim"),
        is_number=False,
        dropped=7,
    )


def _text(header: str, value: Callable[[Result], str | None], dropped: int | None = None) -> Callable[[Context], Spec]:
    def spec(_: Context) -> Spec:
        return Spec(header, lambda line: Cell(printable(value(line.row) or NOTHING)), is_number=False, dropped=dropped)

    return spec


def _recipe(_: Context) -> Spec:
    def cell(line: Line) -> Cell:
        seeds = f" ({line.seeds} seeds)" if line.seeds > 1 else ""
        return Cell(printable(line.row.recipe or NOTHING) + seeds, "bold")

    return Spec("recipe", cell, is_number=False)


def _size(_: Context) -> Spec:
    return Spec("size", lambda line: Cell(format_size(line.row.tflite_bytes)))


def _against_baseline(context: Context, parts: Callable[[Result, Result], tuple[int, int]]) -> Callable[[Line], Cell]:
    baselines = context.baselines

    def cell(line: Line) -> Cell:
        baseline = baselines.get(_related(line.row))
        above, below = parts(line.row, baseline) if baseline else (0, 0)
        return Cell(format_factor(above / below)) if below else Cell(NOTHING)  # a clock that stands still divides by 0

    return cell


def _related(row: Result) -> tuple[object, ...]:
    return (row.session, row.model, row.training_seed, *conditions_of(row))


def _size_ratio(context: Context) -> Spec:
    cell = _against_baseline(context, lambda row, base: (row.tflite_bytes, base.tflite_bytes))
    return Spec("size vs float32", cell, short="vs\nfloat32", dropped=2)


def _speed_up(context: Context) -> Spec:
    cell = _against_baseline(context, lambda row, base: (base.latency_p50_ns, row.latency_p50_ns))
    return Spec("speed-up", cell, short="speed-\nup", dropped=5)


def _metric(place: Literal["host", "board"]) -> Callable[[Context], Spec]:
    def spec(context: Context) -> Spec:
        names = {line.row.metric for line in context.lines if line.row.metric is not None}
        metric = printable(names.pop()) if len(names) == 1 else "metric"
        short = "acc." if metric == "accuracy" else "metric"
        return Spec(f"{metric} on {place}", cell, short=f"{short}\n{place}", dropped=1 if place == "host" else None)

    def cell(line: Line) -> Cell:
        row = line.row
        value = row.metric_value_host if place == "host" else row.metric_value_board
        if value is None:
            return Cell(NOTHING)
        text = format_metric(value, row.metric or "")
        high = row.metric_high_host if place == "host" else row.metric_high_board
        if line.seeds > 1 and high is not None:
            text += f" ± {format_metric(high - value, row.metric or '')}"
        return Cell(text)

    return spec


def _p50(_: Context) -> Spec:
    return Spec("p50", lambda line: Cell(format_duration(line.row.latency_p50_ns)))


def _interval(_: Context) -> Spec:
    def cell(line: Line) -> Cell:
        half = line.row.p50_half_width
        return Cell(NOTHING) if half is None else Cell(f"{half:.1%}", "dim")

    return Spec("± of p50", cell, short="±", dropped=0)


def _p95(_: Context) -> Spec:
    def cell(line: Line) -> Cell:
        return Cell(format_duration(line.row.latency_p95_ns) if line.row.latency_p95_ns else NOTHING)

    return Spec("p95", cell, dropped=4)


def _memory(_: Context) -> Spec:
    def cell(line: Line) -> Cell:
        return Cell(format_size(line.row.peak_rss_bytes) if line.row.peak_rss_bytes else NOTHING)

    return Spec("peak memory", cell, short="peak\nmemory", dropped=3)


def _best(context: Context) -> Spec:
    def cell(line: Line) -> Cell:
        names = context.marks.get(line.row.id, ())
        sign = [PARETO_SIGN] if PARETO in names else []
        return Cell(" ".join([*sign, ", ".join(printable(n) for n in names if n != PARETO)]).strip(), "bold cyan")

    return Spec(
        f"best ({PARETO_SIGN} Pareto)",
        cell,
        short=f"best\n{PARETO_SIGN} Pareto",
        is_number=False,
        dropped=6,
        folds=True,
    )


def _check(_: Context) -> Spec:
    def cell(line: Line) -> Cell:
        level = line.row.output_check
        if level is None:
            return Cell(NOTHING)
        return Cell("within tol." if level == "within tolerance" else printable(level), _CHECK_STYLES.get(level, ""))

    return Spec("output check", cell, short="output\ncheck", is_number=False)


def _verdict(_: Context) -> Spec:
    def cell(line: Line) -> Cell:
        return Cell(printable(line.row.verdict), _VERDICT_STYLES.get(line.row.verdict, ""))

    return Spec("verdict", cell, is_number=False)


def _notes(context: Context) -> Spec:
    return Spec("notes", lambda line: Cell(context.notes(line.row), "dim"), is_number=False)


CATALOGUE: dict[str, Callable[[Context], Spec]] = {
    "measured": _measured,
    "device": _text("device", lambda row: row.device),
    "runtime": _text("runtime", lambda row: f"{row.runtime} {row.runtime_version}"),
    "threads": _text("threads", lambda row: str(row.threads)),
    "governor": _text("governor", lambda row: row.governor),
    "emulated": _text("emulated", lambda row: "emulated" if row.emulated else "real"),
    "data": _text("data", lambda row: row.data_sha256 and row.data_sha256[:8]),
    "origin": _text("origin", lambda row: row.origin),
    "model": _text("model", lambda row: row.model),
    "recipe": _recipe,
    "size": _size,
    "size-ratio": _size_ratio,
    "metric-host": _metric("host"),
    "metric-board": _metric("board"),
    "p50": _p50,
    "interval": _interval,
    "p95": _p95,
    "memory": _memory,
    "speed-up": _speed_up,
    "best": _best,
    "check": _check,
    "verdict": _verdict,
    "notes": _notes,
}
"""By the name that ``--columns`` takes."""
