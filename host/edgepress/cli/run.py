"""``edgepress run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import options


@click.command(
    epilog="Example: edgepress run model.keras --data data.npz --recipe float32,int8 --device local",
)
@click.argument("model", type=click.Path(path_type=Path))
@options.data()
@options.recipes()
@options.devices()
@options.metric
@options.imports
@options.seed
@options.seeds
@options.training
@options.plan
@options.samples
@options.threads
@options.runtimes
@options.delegates
@options.cache
@options.database
@options.as_json
def run(model: Path, as_json: bool, devices: tuple[str, ...], **settings: Any) -> None:
    """Compress, convert, deploy and measure MODEL (a .keras file); add rows to the table.

    Every recipe becomes one TFLite file; each device measures all of them in one interleaved session, and judges
    them on test data that no compression step has seen. A second call reuses the compressed models.
    """
    from edgepress import pipeline
    from edgepress.cli import console, printing

    with console.make_progress() as progress:
        outcome = pipeline.run(model, devices=devices, progress=progress, **settings)
    printing.finish(outcome, as_json)
