"""``edgepress compress``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import options


@click.command(
    epilog="Example: edgepress compress model.keras --data data.npz --recipe prune50-int8 -o small",
)
@click.argument("model", type=click.Path(path_type=Path))
@options.data()
@options.recipes()
@options.devices(required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Gets model.keras, model.tflite and report.json; one folder per recipe when there are several.",
)
@options.metric
@options.imports
@options.seed
@options.training
@options.cache
@options.as_json
def compress(model: Path, as_json: bool, devices: tuple[str, ...], **settings: Any) -> None:
    """Make MODEL (a .keras file) smaller by a recipe, and convert it.

    With a device, steps that can ask the board what is faster there do so; without one they take their defaults
    and the report says "not measured".
    """
    from edgepress import pipeline
    from edgepress.cli import console, printing

    with console.make_progress() as progress:
        artifacts = pipeline.compress(model, devices=devices, progress=progress, **settings)
    if as_json:
        printing.print_json({"schema": 1, "artifacts": [a.as_json() for a in artifacts]})
    else:
        for artifact in artifacts:
            printing.print_artifact(artifact)
