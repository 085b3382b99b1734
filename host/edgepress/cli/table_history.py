"""``edgepress table history``."""

from __future__ import annotations

from typing import Any

import click

from edgepress.cli import filters, options


@click.command(epilog="Example: edgepress table history --device pi4 --recipe int8 --since 26w")
@filters.rows
@click.option("--limit", type=click.IntRange(1), default=2000, show_default=True, help="The newest rows.")
@options.database
@options.as_json
def history(limit: int, db: str | None, as_json: bool, **wanted: Any) -> None:
    """Show each model on each device over time, with the steps in its p50 and what changed there.

    A step is a change of level that lasts for two sessions or more and exceeds the board's noise floor.
    """
    from edgepress.cli import printing
    from edgepress.table.comparison_text import history_as_text
    from edgepress.table.history import histories
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        series = histories(store.rows(**filters.query(**wanted), limit=limit))
    if as_json:
        printing.print_json({"schema": 1, "series": [one.as_json() for one in series]})
    else:
        click.echo("\n".join(history_as_text(one) for one in series) or "no rows")
