"""Networks trained one after another, each a line of JSON: stopped at any time, gone on with later."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import asdict
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


def train_missing(
    path: Path,
    wanted: Iterable[DataclassInstance],
    known: set[Any],
    measure: Callable[[Any, TrainingData, Split], Line],
    seconds: float,
    stop_file: Path | None,
) -> None:
    """Train what has no line yet, until the time is over or somebody asks for the core."""
    deadline = time.monotonic() + seconds
    missing = [key for key in wanted if key not in known]
    if not missing:
        return
    dataset = load_task()
    test = dataset.held_out.open("the accuracy of finished networks, from which nothing is chosen")
    for key in missing:
        if time.monotonic() > deadline or (stop_file is not None and stop_file.exists()):
            return
        started = time.monotonic()
        line = {**asdict(key), **measure(key, dataset.training, test)}
        line |= {"seconds": round(time.monotonic() - started, 1), "task": SHA256[:12]}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        sys.stderr.write(f"{line}\n")


def read_lines(path: Path) -> list[Line]:
    """What was measured so far, on the present task."""
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line["task"] == SHA256[:12]]


def differences(known: Mapping[Key, Line], pairs: Iterable[tuple[Key, Key]], of: str = "accuracy") -> list[float]:
    """By how much the first of each pair is more accurate than the second, where both were trained."""
    return [known[a][of] - known[b][of] for a, b in pairs if a in known and b in known]


def with_interval(values: list[float]) -> str:
    """Mean of fractions with its interval, in percent or points."""
    if len(values) < 2:
        return f"{100 * values[0]:.2f} (one seed)" if values else ""
    mean, low, high = mean_interval(values)
    return f"{100 * mean:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def main(description: str, run: Callable[[float, Path | None], None], table: Callable[[], None]) -> None:
    """The commands ``run`` and ``table``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("run")
    training.add_argument("--seconds", type=float, default=float("inf"), help="begin no network after so many")
    training.add_argument("--stop-file", type=Path, help="begin none while this file exists")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # read when TensorFlow starts
        run(arguments.seconds, arguments.stop_file)
    else:
        table()
