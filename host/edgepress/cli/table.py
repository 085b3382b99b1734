"""``edgepress table``: by itself it prints the table; its commands do other things with it."""

from __future__ import annotations

import click
from click.core import ParameterSource

from edgepress.cli import options


@click.group(
    invoke_without_command=True, epilog="Example: edgepress table --device pi4 --format markdown > BENCHMARKS.md"
)
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
@click.pass_context
def table(
    context: click.Context,
    devices: tuple[str, ...],
    model: str | None,
    recipe: str | None,
    limit: int,
    format_: str,
    db: str | None,
    as_json: bool,
) -> None:
    """Print what was measured, the newest session last."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from edgepress.cli import printing
    from edgepress.table.store import ResultStore

    # A name is taken as it is: a device may have left the inventory, its rows stay.
    names = [name for word in devices for name in (options.resolved((word,)) if word.startswith("@") else (word,))]
    with ResultStore.open(db) as store:
        rows = store.rows(devices=names, model=model, recipe=recipe, limit=limit)
    printing.print_rows(rows, "json" if as_json else format_)


def _refuse_options(context: click.Context) -> None:
    """Options before a command of the group would change nothing: that is said, not ignored."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)} belongs after the command: edgepress table {context.invoked_subcommand} "
            f"{given[0]} ..., if that command has it"
        )
