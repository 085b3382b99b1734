"""``edgepress convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import options
from edgepress_converters.options import BACKENDS, FORMATS, INPUT_OUTPUT_TYPES


@click.command(epilog="Example: edgepress convert model.keras --format int8 --data data.npz -o model.tflite")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    required=True,
    help="int8 and int16x8 need --data to calibrate with.",
)
@click.option(
    "--io",
    type=click.Choice(INPUT_OUTPUT_TYPES),
    default="int8",
    show_default=True,
    help="Type of an int8 model's inputs and outputs.",
)
@click.option(
    "--allow-float",
    multiple=True,
    metavar="OPERATOR|LAYER",
    help="May stay float in integers, e.g. NEG; may be repeated.",
)
@click.option("--backend", type=click.Choice(BACKENDS), default="tflite", show_default=True, help="Who quantizes.")
@click.option(
    "--int4",
    "int4_weights",
    multiple=True,
    metavar="OPERATOR|LAYER|*",
    help="Its weights get 4 bits, by ai-edge-quantizer; may be repeated.",
)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME==VERSION",
    help="Refuse a file that this runtime does not take; may be repeated.",
)
@click.option(
    "--repack/--no-repack",
    default=None,
    help="Write the file without what no runtime reads, such as the names of its tensors.  [default: below 8 MiB]",
)
@options.data(required=False, folder=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@options.imports
@options.seed
@options.as_json
def convert(model: Path, format_: Any, as_json: bool, **settings: Any) -> None:
    """Turn MODEL (a .keras file) into a TFLite file with a batch of 1."""
    from edgepress import pipeline
    from edgepress.cli import console, printing

    with console.make_progress() as progress:
        converted = pipeline.convert(model, format=format_, progress=progress, **settings)
    printing.print_tflite(converted, as_json)
