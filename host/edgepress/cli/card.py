"""``edgepress card``."""

from __future__ import annotations

from pathlib import Path

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress card digits.keras -o MODEL_CARD.md")
@click.argument("model")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Instead of the terminal.")
@options.devices(required=False)
@options.database
@options.as_json
def card(model: str, output: Path | None, devices: tuple[str, ...], db: str | None, as_json: bool) -> None:
    """Write a Markdown model card of MODEL: recipes, metrics, a table per device, how it was measured."""
    from edgepress.cli import printing
    from edgepress.cli.filters import query
    from edgepress.errors import TableError
    from edgepress.table.card import model_card
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        rows = store.rows(**query(devices), model=model)
        exact = tuple(row for row in rows if row.model == model)
        text = model_card(store, exact or rows)
    if output is not None:
        try:
            output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise TableError(f"{output} cannot be written: {error}") from error
    if as_json:
        printing.print_json({"schema": 1, "model": model, "card": text})
    elif output is None:
        click.echo(text)
    else:
        click.echo(f"{output}: card of {model}, {len(exact or rows)} rows")
