"""``edgepress table``: by itself it prints the table; its commands do other things with it."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from edgepress.cli import filters, options
from edgepress.cli.table_figures import figures
from edgepress.cli.table_files import export_, gc, import_
from edgepress.cli.table_history import history
from edgepress.cli.table_verify import verify


@click.group(
    invoke_without_command=True,
    epilog="Example: edgepress table --device pi4 --stable-only --sort p50 --format markdown > BENCHMARKS.md",
)
@filters.rows
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest rows.")
@click.option("--sort", type=click.Choice(filters.SORTS), help="Order of the rows, the best first; default: by time.")
@click.option(
    "--columns",
    metavar="NAME,...",
    callback=filters.split,
    help="Instead of those that fit; docs/table.md has their names. Verdict and output check are always there.",
)
@click.option(
    "--mix",
    metavar="NAME,...",
    callback=filters.split,
    help=f"Let these differ inside one table: {', '.join(filters.CONDITIONS)}. It then says so, and calls no row best.",
)
@click.option("--each-seed", is_flag=True, help="A line for each training seed, instead of mean and interval.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "markdown", "latex", "csv", "json"]),
    default="text",
    show_default=True,
    help="csv and json hold every field, exact.",
)
@options.database
@options.as_json
@click.pass_context
def table(
    context: click.Context,
    /,
    limit: int,
    sort: str | None,
    columns: tuple[str, ...],
    mix: tuple[str, ...],
    each_seed: bool,
    format_: str,
    db: str | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Print what was measured: a table for each set of conditions, the newest session last."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from edgepress.cli import printing
    from edgepress.table.figures import figures_of_rows, mentioned
    from edgepress.table.layout import Layout
    from edgepress.table.store import ResultStore

    layout = Layout(sort, columns, filters.conditions(mix), not each_seed)
    with ResultStore.open(db) as store:
        rows = store.rows(**filters.query(**wanted), limit=limit)
        is_text = format_ == "text" and not as_json
        known = figures_of_rows(store, rows) if is_text else []
        if not rows:
            there_are = bool(store.rows(limit=1))
            why = "rows, but none like that" if there_are else "no rows yet: `edgepress run` and `bench` add some"
            click.echo(f"{store.place} has {why}", err=True)
    printing.print_rows(rows, "json" if as_json else format_, layout)
    for line in mentioned(known):
        click.echo(f"\n{line}")


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


for command in (history, figures, export_, import_, gc, verify):
    table.add_command(command)
