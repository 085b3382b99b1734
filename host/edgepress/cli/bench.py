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
@click.option(
    "--compare",
    is_flag=True,
    help="Two FILES: is the second slower? In ten rounds or more, with an interval.",
)
@options.database
@options.as_json
def bench(files: tuple[Path, ...], as_json: bool, devices: tuple[str, ...], compare: bool, **settings: Any) -> None:
    """Measure FILES (.tflite) on a device, interleaved in one session.

    With --data they are also judged on its test split; without, outputs are still compared with this machine's.
    """
    from edgepress import pipeline
    from edgepress.cli import console, printing

    if compare:
        names = options.resolved(devices)
        if len(files) != 2 or len(names) != 1:
            raise click.UsageError("--compare takes two FILES and one device")
        with console.make_progress() as progress:
            outcome, comparison = pipeline.compare(*files, device=names[0], progress=progress, **settings)
        printing.print_comparison(outcome, comparison, as_json)
        return
    with console.make_progress() as progress:
        outcome = pipeline.bench(files, devices=devices, progress=progress, **settings)
    printing.finish(outcome, as_json)
