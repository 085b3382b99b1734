"""``edgepress table``."""

from __future__ import annotations

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress table --device pi4 --format markdown > BENCHMARKS.md")
@options.devices(required=False)
@click.option("--model", metavar="TEXT", help="Only models whose name contains this.")
@click.option("--recipe", metavar="NAME", help="Only rows of this recipe.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest rows.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
)
@options.database
@options.as_json
def table(
    devices: tuple[str, ...],
    model: str | None,
    recipe: str | None,
    limit: int,
    format_: str,
    db: str | None,
    as_json: bool,
) -> None:
    """Print what was measured, the newest session last."""
    from edgepress.cli import printing
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        rows = store.rows(devices=devices, model=model, recipe=recipe, limit=limit)
    printing.print_rows(rows, "json" if as_json else format_)
