"""``edgepress report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import filters, options


@click.command(epilog="Example: edgepress report -o report.html --device pi4")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The file to write.",
)
@click.option("--title", default="edgepress: what was measured", show_default=True)
@filters.rows
@click.option(
    "--limit",
    type=click.IntRange(1, 500),
    default=200,
    show_default=True,
    help="The newest rows; a browser draws them all.",
)
@options.database
@options.as_json
def report(output: Path, title: str, limit: int, db: str | None, as_json: bool, **wanted: Any) -> None:
    """Write the table as one self-contained web page: it works offline, from disk, on a phone."""
    from edgepress.cli import printing
    from edgepress.errors import TableError
    from edgepress.table.report import render_report
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        rows = store.rows(**filters.query(**wanted), limit=limit)
        page = render_report(store, rows, title)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise TableError(f"{output} cannot be written: {error}") from error
    size_bytes = output.stat().st_size
    if as_json:
        printing.print_json({"schema": 1, "path": str(output), "rows": len(rows), "size_bytes": size_bytes})
    else:
        click.echo(f"{output}: {len(rows)} rows, {size_bytes:,} bytes")
