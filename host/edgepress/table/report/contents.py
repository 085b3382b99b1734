"""What the report's script is given: groups of rows, cells to show and to sort by, and numbers to draw."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.benchmarking.statistics import whiskers
from edgepress.errors import ModelError
from edgepress.table.columns import PARETO_SIGN
from edgepress.table.conditions import group_alike
from edgepress.table.figures import figures_of_rows
from edgepress.table.history import Series, histories
from edgepress.table.inert import brief, printable
from edgepress.table.layout import arrange
from edgepress.table.marks import PARETO, marks, metric_value
from edgepress.table.result import COLUMNS, Result
from edgepress.table.units import format_duration, format_metric, format_size

if TYPE_CHECKING:
    from edgepress.table.figures import Figures
    from edgepress.table.store import ResultStore
    from edgepress_agent.protocol.messages import BoardState, ProcessRun

_MOST_READINGS = 400  # of a row, on the page
COLUMNS_SHOWN = (
    ("name", "Model", False),
    ("size", "Size", True),
    ("metric", "Metric", True),
    ("p50", "p50", True),
    ("interval", "±", True),
    ("p95", "p95", True),
    ("memory", "Peak memory", True),
    ("best", "Best", False),
    ("check", "Output check", False),
    ("verdict", "Verdict", False),
    ("measured", "Measured", True),
)
"""Key, header, and whether a column holds numbers."""

Cell = list[Any]  # text, and what to sort by


def page_contents(store: ResultStore, rows: Sequence[Result]) -> dict[str, Any]:
    """Return JSON values; every string in them is printable."""
    groups = group_alike(rows)
    titles = [arrange(group)[0] for group in groups]
    return {
        "columns": [{"key": key, "label": label, "number": is_number} for key, label, is_number in COLUMNS_SHOWN],
        "groups": [
            {
                "title": title.title,
                "emulated": any(row.emulated for row in group),
                "metric": printable(group[0].metric) if group[0].metric else None,
                "metricIsFraction": "accuracy" in (group[0].metric or ""),
                "higherIsBetter": bool(group[0].metric_higher_is_better),
                "notes": list(title.notes),
            }
            for group, title in zip(groups, titles, strict=True)
        ],
        "rows": [row for number, group in enumerate(groups) for row in _rows(store, group, number)],
        "series": [_series(one) for one in histories(rows) if len(one.rows) > 1],
        "figures": [_figures(one, its) for one, its in figures_of_rows(store, rows)],
    }


def _rows(store: ResultStore, group: Sequence[Result], number: int) -> list[dict[str, Any]]:
    found = marks(group)
    newest = {(row.model, row.recipe, row.training_seed): row.id for row in group}
    ids = set(newest.values())
    return [{**_row(store, row, number, found.get(row.id, ())), "newest": row.id in ids} for row in group]


def _row(store: ResultStore, row: Result, group: int, names: tuple[str, ...]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "group": group,
        "name": _name(row),
        "pareto": PARETO in names,
        "p50": row.latency_p50_ns,
        "bytes": row.tflite_bytes,
        "metric": metric_value(row),
        "verdict": printable(row.verdict),
        "cells": _cells(row, names),
        "warnings": [printable(f"{warning.code}: {warning.message}") for warning in row.warnings],
        "facts": [[name, printable(str(value))] for name in COLUMNS if (value := getattr(row, name)) is not None],
        "session": row.session,
    }
    if row.is_foreign:
        return shown
    evidence = store.evidence(row.id)
    processes = [process for process in evidence.run.processes if process.samples_ns]
    return {
        **shown,
        "latency": _latency(processes),
        "phases": _phases(processes),
        "memory": {
            "runtime": max(process.memory.import_rss_bytes for process in processes),
            "model": row.model_rss_bytes,
        },
        "board": _board(processes, evidence.states),
        "operators": _operators(store, row),
    }


def _name(row: Result) -> str:
    parts = [row.model, row.recipe or ""]
    if row.training_seed:
        parts.append(f"seed {row.training_seed}")
    return printable(" · ".join(filter(None, parts)))


def _cells(row: Result, names: tuple[str, ...]) -> list[Cell]:
    value = metric_value(row)
    p50, half = row.latency_p50_ns, row.p50_half_width
    best = " ".join([PARETO_SIGN] * (PARETO in names) + [", ".join(name for name in names if name != PARETO)]).strip()
    cells: dict[str, Cell] = {
        "name": [_name(row), _name(row).lower()],
        "size": [format_size(row.tflite_bytes), row.tflite_bytes],
        "metric": ["-" if value is None else format_metric(value, row.metric or ""), value],
        "p50": [format_duration(p50), p50],
        "interval": ["-" if half is None else f"{half:.1%}", half],
        "p95": [format_duration(row.latency_p95_ns) if row.latency_p95_ns else "-", row.latency_p95_ns],
        "memory": [format_size(row.peak_rss_bytes) if row.peak_rss_bytes else "-", row.peak_rss_bytes],
        "best": [printable(best), best or None],
        "check": [printable(row.output_check or "-"), row.output_check],
        "verdict": [printable(row.verdict), row.verdict],
        "measured": [row.created_at.strftime("%Y-%m-%d"), row.created_unix_ns // 1_000_000],
    }
    return [cells[key] for key, _, _ in COLUMNS_SHOWN]


def _latency(processes: Sequence[ProcessRun]) -> dict[str, Any]:
    pooled = np.concatenate([np.asarray(process.samples_ns) for process in processes])
    q1, median, q3 = np.quantile(pooled, (0.25, 0.5, 0.75), method="inverted_cdf").tolist()
    low, high = whiskers(pooled)
    medians = [int(np.median(process.samples_ns)) for process in processes]
    return {"low": low, "q1": q1, "median": median, "q3": q3, "high": high, "processes": medians}


def _phases(processes: Sequence[ProcessRun]) -> dict[str, float]:
    """The mean over the cold starts of all processes."""
    names = ("spawn", "import", "load", "allocate", "first")
    return {name: fmean(getattr(process.phases, f"{name}_ns") for process in processes) for name in names}


def _board(processes: Sequence[ProcessRun], states: Sequence[BoardState]) -> dict[str, list[Any]]:
    """Temperature and clock over the job: seconds since its beginning."""
    points: list[tuple[float, float | None, int | None]] = []
    if states:
        begun = states[0].taken_unix_ns
        points += [((state.taken_unix_ns - begun) / 1e9, state.temperature_c, state.cpu_hz) for state in states]
        for process in processes:
            if process.readings:
                first = process.readings[0].taken_ns
                after = (process.started_unix_ns - begun) / 1e9
                points += [
                    (after + (reading.taken_ns - first) / 1e9, reading.temperature_c, reading.cpu_hz)
                    for reading in process.readings
                ]
    points.sort(key=lambda point: point[0])
    thinned = points[:: max(1, -(-len(points) // _MOST_READINGS))]
    return {
        "seconds": [round(seconds, 3) for seconds, _, _ in thinned],
        "temperature": [temperature for _, temperature, _ in thinned],
        "hertz": [hertz for _, _, hertz in thinned],
    }


def _operators(store: ResultStore, row: Result) -> list[list[Any]]:
    """Kind, count and bytes of constants of each kind of operator, by the kept file; nothing where it is not kept."""
    path = store.models.path(row.model_sha256)
    if not path.exists():
        return []
    from edgepress.conversion import inspect

    try:
        operators = inspect(path).operators
    except ModelError:
        return []
    return [[printable(operator.name), operator.count, operator.constant_bytes] for operator in operators]


def _figures(one: Figures, rows: Sequence[Result]) -> dict[str, Any]:
    return {
        "what": printable(one.what),
        "unit": printable(one.unit),
        "name": _name(rows[-1]),
        "rows": [row.id for row in rows],
        "kinds": [printable(part.kind) for part in one.parts],
        "names": [printable(f"{part.name}: {part.why}" if part.why else part.name) for part in one.parts],
        "values": [part.value for part in one.parts],
        "note": printable(". ".join(filter(None, (one.agreement, f"Taken {one.origin}.")))),
    }


def _series(one: Series) -> dict[str, Any]:
    return {
        "name": printable(one.name),
        "times": [row.created_at.isoformat(timespec="seconds") for row in one.rows],
        "p50": [row.latency_p50_ns for row in one.rows],
        "low": [row.latency_p50_low_ns or row.latency_p50_ns for row in one.rows],
        "high": [row.latency_p50_high_ns or row.latency_p50_ns for row in one.rows],
        "levels": [[start, stop - 1, value] for start, stop, value in one.levels],
        "steps": [
            {
                "time": step.at.created_at.isoformat(timespec="seconds"),
                "ratio": step.ratio,
                "changed": [f"{name} {brief(old)} → {brief(new)}" for name, old, new in step.changed],
            }
            for step in one.steps
        ],
    }
