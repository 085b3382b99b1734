"""``edgepress bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress bench a.tflite b.tflite --device pi4 --threads 4")
@click.argument("files", type=click.Path(path_type=Path, dir_okay=False), nargs=-1, required=True)
@options.devices()
@options.data(required=False)
@options.metric
@options.seed
@options.plan
@options.threads
@options.runtimes
@options.delegates
@options.cache
@options.database
@options.as_json
def bench(files: tuple[Path, ...], as_json: bool, devices: tuple[str, ...], **settings: Any) -> None:
    """Measure FILES (.tflite) on a device, interleaved in one session.

    With --data they are also judged on its test split; without, outputs are still compared with this machine's.
    """
    from edgepress import pipeline
    from edgepress.cli import console, printing

    with console.make_progress() as progress:
        outcome = pipeline.bench(files, devices=devices, progress=progress, **settings)
    printing.finish(outcome, as_json)
