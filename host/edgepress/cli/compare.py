"""``edgepress compare``."""

from __future__ import annotations

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress compare recipe:float32,device:pi4 recipe:int8,device:pi4")
@click.argument("before")
@click.argument("after")
@click.option("--format", "format_", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@options.database
@options.as_json
def compare(before: str, after: str, format_: str, db: str | None, as_json: bool) -> None:
    """Say what changed from BEFORE to AFTER, by the raw samples of stored rows: ratio, interval, verdict.

    Both are words that choose rows: a recipe, device, model, commit, session or row id by its name, or KIND:NAME with
    the kinds recipe, device, model, commit, session, id, release, file, runtime, threads, governor, seed; several with
    commas must all hold. 'newest' is the newest session.
    """
    from edgepress.cli import printing
    from edgepress.table import comparison, comparison_text
    from edgepress.table.selection import select, varied
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        one, other = select(store, before), select(store, after)
        pairs = comparison.compare(store.evidence, one, other, varied(one, other))
    for chosen in (one, other):
        if chosen.is_cut:
            click.echo(
                f"{chosen.text} chooses more rows than are compared: the newest {len(chosen.rows)} were", err=True
            )
    if as_json or format_ == "json":
        printing.print_json({"schema": 1, "pairs": [pair.as_json() for pair in pairs]})
    elif format_ == "markdown":
        click.echo(comparison_text.pairs_as_markdown(pairs))
    else:
        click.echo(comparison_text.pairs_as_text(pairs))
