"""``edgepress deploy``."""

from __future__ import annotations

from pathlib import Path

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress deploy small/model.tflite --device pi4 --app classifier")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.devices()
@click.option("--app", metavar="NAME", help="Application that uses it; default: the file's or its folder's name.")
@options.runtime
@options.as_json
def deploy(file: Path, devices: tuple[str, ...], app: str | None, runtime: str | None, as_json: bool) -> None:
    """Make FILE (a .tflite) an application's current model on a device.

    It is pushed, run there and checked against this machine's outputs before the switch; on any failure the
    release before it stays in use.
    """
    from edgepress import pipeline
    from edgepress.cli import console, printing

    with console.make_progress() as progress:
        releases = [
            (device, pipeline.deploy(file, device=device, app=app, runtime=runtime, progress=progress))
            for device in options.resolved(devices)
        ]
    if as_json:
        printing.print_json(
            {
                "schema": 1,
                "releases": [
                    {"device": device, "app": r.app, "current": r.current, "previous": r.previous, "path": r.path}
                    for device, r in releases
                ],
            }
        )
    else:
        for device, release in releases:
            click.echo(f"{device}: {release.app} now uses {release.current} ({release.path})")
