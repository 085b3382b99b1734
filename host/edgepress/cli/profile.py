"""``edgepress profile``."""

from __future__ import annotations

from pathlib import Path

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress profile model.tflite --device pi4 --picture operators.png")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.devices()
@options.runtime
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
@click.option("--delegate", type=click.Choice(["default", "none"]), default="default", show_default=True)
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the operators: .png, .svg or .pdf."
)
@options.database
@options.as_json
def profile(
    file: Path,
    devices: tuple[str, ...],
    runtime: str | None,
    threads: int,
    delegate: str,
    picture: Path | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Say where the time of FILE (.tflite) goes on a device, operator by operator.

    Each operator is cut out and measured alone, in one session with the whole; by how much they miss it is said. The
    times are kept beside the rows of FILE: 'edgepress report' draws them, 'edgepress table figures' prints them again.
    """
    import dataclasses

    from edgepress import confirmation
    from edgepress.benchmarking.operator_picture import draw_bars
    from edgepress.benchmarking.operators import profile_operators
    from edgepress.benchmarking.session import Way
    from edgepress.cli.console import make_progress
    from edgepress.cli.printing import print_json, print_operators
    from edgepress.conversion import inspect
    from edgepress.devices.device import Device
    from edgepress.table.figures import figures_of_profile
    from edgepress.table.store import ResultStore

    names = options.resolved(devices)
    if len(names) != 1:
        raise click.UsageError("profile takes one device")
    model = inspect(file)
    with make_progress() as progress, ResultStore.open(db) as store, Device.open(names[0]) as board:
        way = Way(board.runtime(runtime), threads, delegate)
        confirmation.require_compatible(model, way.runtime, board.name)
        found = profile_operators(board, model, way, progress)
        store.record_figures(figures_of_profile(found, board.facts))
    if picture is not None:
        draw_bars(found, picture)
    if as_json:
        print_json({"schema": 1, **dataclasses.asdict(found)})
    else:
        print_operators(found)
