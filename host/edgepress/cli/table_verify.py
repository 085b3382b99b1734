"""``edgepress table verify``."""

from __future__ import annotations

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress table verify --db results.db")
@options.database
@options.as_json
@click.pass_context
def verify(context: click.Context, db: str | None, as_json: bool) -> None:
    """Derive every row again from its raw samples; exit with 1 and name those that say something else."""
    from collections import Counter
    from dataclasses import asdict

    from edgepress.cli.printing import print_json
    from edgepress.table import verify as verification
    from edgepress.table.inert import printable
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        found = list(verification.verify(store))
    wrong = [one for one in found if not one.is_sound]
    unknown = [one for one in found if one.unknown is not None]
    if as_json:
        print_json(
            {
                "schema": 1,
                "rows": len(found),
                "not_derivable": [{"id": one.row.id, "why": one.unknown} for one in unknown],
                "wrong": [
                    {"id": one.row.id, "damage": one.damage, "changes": [asdict(change) for change in one.changes]}
                    for one in wrong
                ],
            }
        )
    else:
        for one in wrong:
            name = printable(f"{one.row.recipe or one.row.model} on {one.row.device}")
            click.echo(f"row {one.row.id[:12]} ({name}): " + (printable(one.damage) if one.damage else "changed"))
            for change in one.changes:
                click.echo(printable(f"  {change.field}: stored {change.stored!r}, its samples say {change.derived!r}"))
        sound = len(found) - len(wrong) - len(unknown)
        click.echo(f"{sound} of {len(found)} rows are what their samples say")
        for why, count in Counter(one.unknown for one in unknown).items():
            click.echo(f"{count} cannot be derived: {printable(why or '')}")
    context.exit(1 if wrong else 0)
