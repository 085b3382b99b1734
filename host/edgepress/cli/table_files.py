"""``edgepress table export``, ``import`` and ``gc``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from edgepress.cli import filters, options

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("export", epilog="Example: edgepress table export paper.zip --bundle --device pi4 --since 30d")
@click.argument("target", type=_file)
@filters.rows
@click.option("--limit", type=click.IntRange(1), help="The newest rows; all when left out.")
@click.option("--bundle", is_flag=True, help="A zip file with the .tflite files and the recipes, too.")
@options.database
@options.as_json
def export_(target: Path, limit: int | None, bundle: bool, db: str | None, as_json: bool, **wanted: Any) -> None:
    """Write rows with all of their evidence to TARGET (JSON Lines; compressed where it ends with .gz).

    'edgepress table import' reads it into another database, exactly as it was.
    """
    from edgepress.cli import printing
    from edgepress.table import archive
    from edgepress.table.store import ResultStore

    with ResultStore.open(db) as store:
        rows = store.rows(**filters.query(**wanted), limit=limit)
        write = archive.export_bundle if bundle else archive.export_rows
        done = write(store, rows, target)
    if as_json:
        printing.print_json({"schema": 1, **dataclasses.asdict(done)})
        return
    click.echo(f"{target}: {done.rows} rows" + (f", {done.models} models, {done.recipes} recipes" if bundle else ""))
    if done.missing:
        names = ", ".join(sha256[:12] for sha256 in done.missing)
        click.echo(f"  the files of {len(done.missing)} models are not kept here: {names}")


@click.command("import", epilog="Example: edgepress table import paper.zip --db paper.db")
@click.argument("source", type=_file)
@click.option(
    "--from",
    "tool",
    type=click.Choice(["archive", "benchmark_model"]),
    default="archive",
    show_default=True,
    help="What wrote SOURCE: edgepress, or one of TFLite's tools (its JSON, CSV or log).",
)
@click.option("--tflite", type=_file, help="benchmark_model: the file that it measured.")
@click.option("--device", metavar="NAME", help="benchmark_model: the board's name.")
@click.option("--runtime", metavar="NAME==VERSION", help="benchmark_model: what it was built with.")
@click.option("--threads", type=click.IntRange(1), help="benchmark_model: where it did not write them down.")
@options.database
@options.as_json
def import_(
    source: Path,
    tool: str,
    tflite: Path | None,
    device: str | None,
    runtime: str | None,
    threads: int | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Add the rows of SOURCE to the table; those that are there already stay as they are.

    Rows of other tools are marked as foreign: nobody here saw their samples, and nothing about them was checked.
    """
    from edgepress.cli import printing
    from edgepress.table import archive
    from edgepress.table.store import ResultStore

    if tool == "benchmark_model" and (tflite is None or device is None):
        raise click.UsageError("--from benchmark_model needs --tflite FILE and --device NAME: the result names neither")
    if tool == "archive" and (tflite or device or runtime or threads):
        raise click.UsageError("--tflite, --device, --runtime and --threads belong to --from benchmark_model")
    with ResultStore.open(db) as store:
        if tflite is not None and device is not None:
            from edgepress.table.foreign import read_foreign

            row = read_foreign(source, tflite=tflite, device=device, runtime=runtime, threads=threads)
            store.models.keep(tflite, row.model_sha256)
            done = archive.Imported(store.record([row]), 1, 1)
        else:
            done = archive.import_archive(store, source)
    if as_json:
        printing.print_json({"schema": 1, **dataclasses.asdict(done)})
    else:
        models = f", {done.models} models" if done.models else ""
        click.echo(f"{source}: {done.rows} rows, {done.new} of them new{models}")


@click.command(epilog="Example: edgepress table gc --unused-for 90d --dry-run")
@click.option(
    "--unused-for", metavar="AGE", callback=filters.moment, help="Delete as well what no row of the last 90d names."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@options.database
@options.as_json
def gc(unused_for: Any, dry_run: bool, db: str | None, as_json: bool) -> None:
    """Delete kept .tflite files that no row names. Rows are never deleted.

    With --unused-for also those that only old rows name; such rows cannot be exported with their model any more.
    """
    from datetime import datetime

    from edgepress.cli import printing
    from edgepress.table.store import ResultStore, require_models_of_its_own

    require_models_of_its_own(db)
    age_s = None if unused_for is None else (datetime.now().astimezone() - unused_for.astimezone()).total_seconds()
    with ResultStore.open(db) as store:
        done = store.models.collect(store.newest_use(), unused_for_s=age_s, dry_run=dry_run)
        folder = store.models.folder
    if as_json:
        printing.print_json({"schema": 1, "folder": str(folder), "dry_run": dry_run, **dataclasses.asdict(done)})
    else:
        verb = "would delete" if dry_run else "deleted"
        click.echo(f"{folder}: {verb} {len(done.files)} files ({done.freed_bytes:,} bytes), {done.kept} stay")
