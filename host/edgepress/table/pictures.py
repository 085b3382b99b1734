"""Pictures of the table for papers and slides: PNG or SVG, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.benchmarking.statistics import whiskers
from edgepress.errors import MissingPackageError, TableError
from edgepress.table.conditions import unlike
from edgepress.table.history import histories
from edgepress.table.inert import printable
from edgepress.table.marks import PARETO, marks, metric_value
from edgepress.table.result import Result
from edgepress.table.units import is_fraction

if TYPE_CHECKING:
    from edgepress.table.store import ResultStore

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _RED, _PINK = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
_GREY = "#6b7280"
_FORMATS = (".png", ".svg", ".pdf")


def draw_picture(
    store: ResultStore, rows: Sequence[Result], kind: str, target: Path, width_inches: float = 5.5
) -> None:
    """Draw rows of one set of conditions.

    Args:
        kind: a key of :data:`PICTURES`.
        target: its ending, .png, .svg or .pdf, says what is written.

    Raises:
        TableError: no rows, rows that are not alike, another ending, or a file that cannot be written.
        MissingPackageError: without the extra ``edgepress[report]``.
    """
    if target.suffix not in _FORMATS:
        raise TableError(f"{target}: a picture ends with {', '.join(_FORMATS)}")
    if not rows:
        raise TableError("there is no row to draw; `edgepress table` prints what there is")
    mixed = unlike(rows)
    if mixed and kind != "history":
        raise TableError(
            f"these rows differ in {', '.join(mixed)} and are not comparable: choose one set of conditions with "
            "--device, --runtime, --model, --recipe or --since"
        )
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure  # without pyplot: nothing global, no display
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"pictures need {error.name}; install it with: pip install 'edgepress[report]'"
        ) from error
    style: Any = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e5e7eb",
        "axes.axisbelow": True,
        "svg.hashsalt": "edgepress",  # the same rows give the same file
        "svg.fonttype": "none",
        "text.parse_math": False,  # a name with dollars is no formula
    }
    with rc_context(style):
        figure = Figure(figsize=(width_inches, width_inches * 0.65), layout="constrained")
        PICTURES[kind](store, rows, figure.subplots())
        try:
            figure.savefig(target, dpi=200, metadata={"Date": None} if target.suffix == ".svg" else None)
        except OSError as error:
            raise TableError(f"{target} cannot be written: {error}") from error


def _newest(rows: Sequence[Result]) -> list[Result]:
    return list({(row.model, row.recipe, row.training_seed): row for row in rows}.values())


def _names(rows: Sequence[Result]) -> list[str]:
    several = len({row.model for row in rows}) > 1
    names = [f"{row.model} {row.recipe or ''}".strip() if several or not row.recipe else row.recipe for row in rows]
    return [printable(name) for name in names]


def _pareto(store: ResultStore, rows: Sequence[Result], axes: Any) -> None:
    del store
    found = marks(rows)
    shown = [row for row in _newest(rows) if metric_value(row) is not None]
    if not shown:
        raise TableError("these rows have no metric: measure with --data, or draw --kind latency")
    fraction = is_fraction(shown[0].metric or "")
    scale, unit = _unit([row.latency_p50_ns for row in shown])
    y = [(metric_value(row) or 0.0) * (100 if fraction else 1) for row in shown]
    x = [row.latency_p50_ns / scale for row in shown]
    largest = max(row.tflite_bytes for row in shown)
    for is_front, colour, marker in ((False, _GREY, "o"), (True, _BLUE, "D")):
        chosen = [i for i, row in enumerate(shown) if (PARETO in found.get(row.id, ())) is is_front]
        axes.scatter(
            [x[i] for i in chosen],
            [y[i] for i in chosen],
            s=[20 + 180 * shown[i].tflite_bytes / largest for i in chosen],
            c=colour,
            marker=marker,
            alpha=0.85,
            label="Pareto-optimal" if is_front else "other",
            zorder=3,
        )
    front = sorted((x[i], y[i]) for i, row in enumerate(shown) if PARETO in found.get(row.id, ()))
    axes.plot([a for a, _ in front], [b for _, b in front], ":", color=_BLUE, linewidth=1)
    for name, a, b in zip(_names(shown), x, y, strict=True):
        axes.annotate(name, (a, b), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    axes.set_xlabel(f"p50 latency ({unit})")
    axes.set_ylabel(printable(shown[0].metric or "") + (" (%)" if fraction else ""))
    axes.legend(loc="lower right", frameon=False)


def _latency(store: ResultStore, rows: Sequence[Result], axes: Any) -> None:
    shown = [row for row in _newest(rows) if not row.is_foreign]
    runs = [store.evidence(row.id).run for row in shown]
    pooled = [np.concatenate([process.samples_ns for process in run.processes if process.samples_ns]) for run in runs]
    ends = [whiskers(samples) for samples in pooled]
    scale, unit = _unit([int(high) for _, high in ends])
    boxes = [
        {
            **dict(
                zip(
                    ("q1", "med", "q3"),
                    (np.quantile(samples, (0.25, 0.5, 0.75), method="inverted_cdf") / scale).tolist(),
                    strict=True,
                )
            ),
            "whislo": low / scale,
            "whishi": high / scale,
            "label": name,
        }
        for samples, (low, high), name in zip(pooled, ends, _names(shown), strict=True)
    ]
    drawn = axes.bxp(
        boxes, orientation="horizontal", showfliers=False, patch_artist=True, medianprops={"color": "white"}
    )
    for box in drawn["boxes"]:
        box.set(facecolor=_BLUE, edgecolor=_BLUE)
    for place, run in enumerate(runs, 1):
        medians = [np.median(process.samples_ns) / scale for process in run.processes if process.samples_ns]
        axes.scatter(medians, [place] * len(medians), s=10, color=_RED, zorder=3)
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.set_xlabel(f"latency ({unit}); whiskers p5 to p95 (from 130 samples on), dots: medians of processes")


def _phases(store: ResultStore, rows: Sequence[Result], axes: Any) -> None:
    shown = [row for row in _newest(rows) if not row.is_foreign]
    runs = [store.evidence(row.id).run for row in shown]
    left = np.zeros(len(shown))
    parts = (("spawn", _BLUE), ("import", _ORANGE), ("load", _GREEN), ("allocate", _RED), ("first", _PINK))
    for name, colour in parts:
        values = np.array([np.mean([getattr(p.phases, f"{name}_ns") for p in run.processes]) / 1e6 for run in runs])
        axes.barh(_names(shown), values, left=left, color=colour, label=name)
        left += values
    axes.invert_yaxis()
    axes.set_xlabel("ms from the start of a process to its first answer, mean of cold starts")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=len(parts), frameon=False)


def _history(store: ResultStore, rows: Sequence[Result], axes: Any) -> None:
    del store
    colours = (_BLUE, _ORANGE, _GREEN, _RED, _PINK, _GREY)
    series = [one for one in histories(rows) if len(one.rows) > 1][-len(colours) :]
    if not series:
        raise TableError("nothing was measured more than once: there is no history to draw")
    scale, unit = _unit([row.latency_p50_ns for one in series for row in one.rows])
    for one, colour in zip(series, colours, strict=False):
        times: list[Any] = [row.created_at for row in one.rows]
        axes.plot(times, [row.latency_p50_ns / scale for row in one.rows], ".", color=colour, label=printable(one.name))
        for start, stop, level in one.levels:
            axes.plot([times[start], times[stop - 1]], [level / scale] * 2, color=colour, linewidth=1.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"p50 latency ({unit})")
    axes.tick_params(axis="x", rotation=30)
    axes.figure.legend(fontsize=7, frameon=False, loc="outside lower center", ncols=2)


def _unit(latencies_ns: Sequence[int]) -> tuple[float, str]:
    largest = max(latencies_ns)
    return next(
        ((scale, unit) for scale, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")) if largest >= scale), (1, "ns")
    )


PICTURES: dict[str, Callable[[Any, Sequence[Result], Any], None]] = {
    "pareto": _pareto,
    "latency": _latency,
    "phases": _phases,
    "history": _history,
}
"""What can be drawn, by name."""
