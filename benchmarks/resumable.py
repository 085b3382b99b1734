"""Networks trained one after another, each a line of JSON: stopped at any time, gone on with later."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks import load_task
from tasks.strokes import SHA256

from edgepress.table.seeds import mean_interval

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from edgepress.data import Split, TrainingData

Key = TypeVar("Key", bound=Hashable)
Line = dict[str, Any]

PURPOSE = "the accuracy of finished networks, from which nothing is chosen"
"""What test splits are opened for."""


def train_missing(
    path: Path,
    wanted: Iterable[DataclassInstance],
    known: set[Any],
    measure: Callable[[Any, TrainingData, Split], Line],
    seconds: float,
    stop_file: Path | None,
) -> None:
    """Train on the strokes what has no line yet, until the time is over or somebody asks for the core."""

    @cache
    def task() -> tuple[TrainingData, Split]:
        dataset = load_task()
        return dataset.training, dataset.held_out.open(PURPOSE)

    def measured(key: DataclassInstance) -> Line:
        return {**asdict(key), **measure(key, *task()), "task": SHA256[:12]}

    add_missing(path, wanted, known, measured, seconds, stop_file)


def add_missing(
    path: Path,
    wanted: Iterable[Key],
    known: Container[Key],
    measure: Callable[[Key], Line],
    seconds: float,
    stop_file: Path | None,
) -> None:
    """Measure what has no line yet, and append its line; begin none after so many seconds, or while a file exists."""
    deadline = time.monotonic() + seconds
    for key in wanted:
        if key in known:
            continue
        if time.monotonic() > deadline or (stop_file is not None and stop_file.exists()):
            return
        started = time.monotonic()
        add_line(path, {**measure(key), "seconds": round(time.monotonic() - started, 1)})


def add_line(path: Path, line: Line) -> None:
    """Append a line, and show it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    sys.stderr.write(f"{line}\n")


def read_lines(path: Path, task: str | None = SHA256[:12]) -> list[Line]:
    """What was measured so far, on the present strokes; on whatever there is, if ``task`` is None."""
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if task is None or line["task"] == task]


def differences(known: Mapping[Key, Line], pairs: Iterable[tuple[Key, Key]], of: str = "accuracy") -> list[float]:
    """By how much the first of each pair is more accurate than the second, where both were trained."""
    return [known[a][of] - known[b][of] for a, b in pairs if a in known and b in known]


def with_interval(values: list[float]) -> str:
    """Mean of fractions with its interval, in percent or points."""
    if len(values) < 2:
        return f"{100 * values[0]:.2f} (one seed)" if values else ""
    mean, low, high = mean_interval(values)
    return f"{100 * mean:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def main(
    description: str,
    run: Callable[[float, Path | None], None],
    table: Callable[[], None],
    **others: Callable[[], None],
) -> None:
    """The commands ``run`` and ``table``, and others by their names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("run")
    training.add_argument("--seconds", type=float, default=float("inf"), help="begin no network after so many")
    training.add_argument("--stop-file", type=Path, help="begin none while this file exists")
    others["table"] = table
    for name in others:
        commands.add_parser(name)
    arguments = parser.parse_args()
    if arguments.command == "run":
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # read when TensorFlow starts
        run(arguments.seconds, arguments.stop_file)
    else:
        others[arguments.command]()
