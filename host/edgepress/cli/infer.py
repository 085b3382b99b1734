"""``edgepress infer``."""

from __future__ import annotations

from pathlib import Path

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress infer small/model.tflite --device pi4 --input cat.jpg")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.devices()
@click.option(
    "--input",
    "inputs",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    required=True,
    metavar="FILE",
    help="A picture or a .npy array, with or without the batch; one per model input, in model order.",
)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="How many labels to show.")
@options.runtime
@options.as_json
def infer(
    file: Path, devices: tuple[str, ...], inputs: tuple[Path, ...], top: int, runtime: str | None, as_json: bool
) -> None:
    """Run one input through FILE (a .tflite) on a device; print labels and the time it took.

    A report.json beside the file (as 'edgepress compress' leaves it) says what the input means and names the
    labels.
    """
    from edgepress import inference
    from edgepress.cli import printing

    answers = [
        inference.infer(file, device=device, inputs=inputs, runtime=runtime) for device in options.resolved(devices)
    ]
    if as_json:
        printing.print_json({"schema": 1, "answers": [answer.as_json() for answer in answers]})
    else:
        for answer in answers:
            printing.print_answer(answer, top)
