"""``edgepress inspect``."""

from __future__ import annotations

from pathlib import Path

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress inspect model.tflite")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.as_json
def inspect(file: Path, as_json: bool) -> None:
    """Say what is in FILE (a .tflite): where its bytes are, inputs, outputs, operators, fitting runtimes."""
    from edgepress import conversion
    from edgepress.cli import printing

    printing.print_tflite(conversion.inspect(file), as_json)
