"""``edgepress quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import options


@click.group(epilog="Example: edgepress quantize debug model.keras --data data.npz")
def quantize() -> None:
    """Find out what int8 does to a model."""


@quantize.command(epilog="Example: edgepress quantize debug model.keras --data data.npz --picture errors.png")
@click.argument("model", type=click.Path(path_type=Path))
@options.data(folder=False)
@click.option(
    "--calibration",
    type=click.Choice(["minmax", "percentile", "mse"]),
    default="minmax",
    show_default=True,
    help="How ranges of activations are taken from training data.",
)
@options.metric
@options.imports
@options.seed
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the layers: .png, .svg or .pdf.")
@options.database
@options.as_json
def debug(model: Path, picture: Path | None, as_json: bool, **settings: Any) -> None:
    """Rank the layers of MODEL (a .keras file) by what they lose in int8, and name the cause where it is known.

    The local error of a layer is its own: all before it is exact. The cumulative error is what has added up. Of a model
    that 'compress' left beside its int8 file the figures are kept with the rows of that file, and 'edgepress report'
    draws them.
    """
    from edgepress import diagnosing
    from edgepress.cli import console, printing

    with console.make_progress() as progress:
        found = diagnosing.debug_quantization(model, progress=progress, **settings)
    if picture is not None:
        from edgepress.compression.quantization.diagnosis_picture import draw_errors

        draw_errors(found.diagnosis, found.model, picture)
    if as_json:
        printing.print_json({"schema": 1, **found.as_json()})
    else:
        printing.print_debugged(found)
