"""``edgepress plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import filters, options


@click.command(epilog="Example: edgepress plot -o pareto.svg --kind pareto --device pi4")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Ends with .png, .svg or .pdf.",
)
@click.option(
    "--kind", type=click.Choice(["pareto", "latency", "phases", "history"]), default="pareto", show_default=True
)
@click.option("--width", type=click.FloatRange(1, 30), default=5.5, show_default=True, help="Inches.")
@filters.rows
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="The newest rows.")
@options.database
@options.as_json
def plot(output: Path, kind: str, width: float, limit: int, db: str | None, as_json: bool, **wanted: Any) -> None:
    """Draw a picture for a paper: the Pareto front, latency distributions, cold starts, or history."""
    from edgepress.cli import printing
    from edgepress.table.pictures import draw_picture
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        rows = store.rows(**filters.query(**wanted), limit=limit)
        draw_picture(store, rows, kind, output, width)
    if as_json:
        printing.print_json({"schema": 1, "path": str(output), "kind": kind, "rows": len(rows)})
    else:
        click.echo(f"{output}: {kind} of {len(rows)} rows")
