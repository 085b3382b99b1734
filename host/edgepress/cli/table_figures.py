"""``edgepress table figures``."""

from __future__ import annotations

from typing import Any

import click

from edgepress.cli import filters, options


@click.command(epilog="Example: edgepress table figures --device pi4 --recipe int8")
@filters.rows
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Of the newest rows.")
@options.database
@options.as_json
def figures(limit: int, db: str | None, as_json: bool, **wanted: Any) -> None:
    """Print what is known of the operators and layers of stored models, and where it comes from.

    'edgepress profile' leaves the time of each operator.
    """
    from edgepress.cli import printing
    from edgepress.table.figures import figures_as_text, figures_of_rows
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        known = figures_of_rows(store, store.rows(**filters.query(**wanted), limit=limit))
    if as_json:
        documents = [{**one.as_json(), "rows": [row.id for row in rows]} for one, rows in known]
        printing.print_json({"schema": 1, "figures": documents})
    else:
        click.echo("\n\n".join(figures_as_text(one) for one, _ in known) or "nothing is known of their parts")
