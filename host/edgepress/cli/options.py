"""Options that mean the same on every command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def split(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    del context, parameter
    parts = [[part.strip() for part in value.split(",") if part.strip()] for value in values]
    if not all(parts):
        raise click.BadParameter(f"{values[parts.index([])]!r} names nothing")
    return tuple(name for names in parts for name in names)


def devices(required: bool = True) -> Callable[[Command], Command]:
    """``--device`` (repeatable, commas, @group)."""
    return click.option(
        "--device",
        "-d",
        "devices",
        metavar="NAME",
        multiple=True,
        required=required,
        callback=split,
        help="A device of the inventory, or @group; may be repeated or comma-separated. 'local' is this machine.",
    )


def resolved(devices: tuple[str, ...]) -> list[str]:
    """Return the names behind ``--device``, those of a @group in its place."""
    from edgepress.devices.inventory import Inventory

    return [config.name for config in Inventory.load().resolve(devices)]


def recipes() -> Callable[[Command], Command]:
    """``--recipe`` (repeatable, commas)."""
    return click.option(
        "--recipe",
        "-r",
        "recipes",
        metavar="NAME",
        multiple=True,
        required=True,
        callback=split,
        help="A shipped recipe's name or a TOML file; may be repeated or comma-separated. See 'edgepress recipe list'.",
    )


def data(required: bool = True, folder: bool = True) -> Callable[[Command], Command]:
    """``--data``; of a ``folder`` of pictures something else has to say how they become inputs."""
    return click.option(
        "--data",
        metavar="FILE.npz|FOLDER|MODULE:FUNCTION" if folder else "FILE.npz|MODULE:FUNCTION",
        required=required,
        help="Arrays x_train y_train x_val y_val [x_test y_test]; "
        + ("pictures in a folder for each class; " if folder else "")
        + "or a function that returns an edgepress.Dataset.",
    )


imports = click.option(
    "--import",
    "imports",
    metavar="MODULE",
    multiple=True,
    callback=split,
    help="Module with custom layers, losses or metrics of the model; may be repeated or comma-separated.",
)
metric = click.option(
    "--metric",
    metavar="NAME|MODULE:FUNCTION",
    help="Judge by this metric instead of the compiled one; NAME@0 by that of the first output alone; a function "
    "returns one score for each sample.",
)
seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Of training, splits and sampling.",
)
seeds = click.option(
    "--seeds",
    metavar="N",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Repeat recipes with steps with so many seeds, from --seed on; the table shows mean and interval.",
)


def training(command: Command) -> Command:
    """``--mixed-precision`` and ``--logs``, put together as ``training``."""

    @click.option("--mixed-precision", is_flag=True, help="Train in half precision, for GPUs; weights stay float32.")
    @click.option(
        "--logs",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Gets a CSV table and TensorBoard curves of every training.",
    )
    @functools.wraps(command)
    def with_training(mixed_precision: bool, logs: Path | None, **settings: Any) -> Any:
        from edgepress.training.settings import Training

        return command(training=Training(mixed_precision=mixed_precision, logs=logs), **settings)

    return with_training  # type: ignore[return-value]


plan = click.option(
    "--plan",
    type=click.Choice(["glance", "quick", "standard", "sustained", "adaptive"]),
    default="quick",
    show_default=True,
    help="How long to measure. glance: is it there at all; adaptive: until the median is known to 1 %; sustained: ten "
    "minutes of load.",
)

samples = click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Of the test split, at most, to judge each model by on each device.",
)


def _threads(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    words = split(context, parameter, values)
    if not all(word.isdigit() and 1 <= int(word) <= 64 for word in words):
        raise click.BadParameter(f"{', '.join(words)}: expected numbers from 1 to 64")
    return tuple(dict.fromkeys(map(int, words)))


threads = click.option(
    "--threads",
    metavar="N",
    multiple=True,
    default=["1"],
    callback=_threads,
    help="Of the interpreter; may be repeated or comma-separated: each is measured.  [default: 1]",
)
runtimes = click.option(
    "--runtime",
    metavar="NAME[==VERSION]",
    multiple=True,
    callback=split,
    help="tflite-runtime or ai-edge-litert; default: the device's choice. Several are measured side by side.",
)
delegates = click.option(
    "--delegate",
    type=click.Choice(["default", "none"]),
    multiple=True,
    default=["default"],
    help="default: XNNPACK where the runtime uses it; none: the runtime's own kernels. Both may be given.",
)
runtime = click.option(
    "--runtime", metavar="NAME[==VERSION]", help="tflite-runtime or ai-edge-litert; default: the device's choice."
)
restart_unit = click.option(
    "--restart-unit",
    metavar="UNIT",
    help="Restarted on the device after the switch by 'systemctl --user', and has to be active then.",
)
parallel = click.option(
    "--parallel",
    metavar="N",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Devices that are busy at a time.",
)
_canaries = click.option(
    "--canary",
    "canaries",
    metavar="N",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Devices that have to succeed before any other is begun.",
)
_max_failures = click.option(
    "--max-failures",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Begin no further device once more have failed; those that cannot be reached do not count.",
)


def staging(command: Command) -> Command:
    """``--parallel``, ``--canary`` and ``--max-failures``: the fields of a Staging."""
    return parallel(_canaries(_max_failures(command)))


database = click.option(
    "--db",
    metavar="URL",
    envvar="EDGEPRESS_DB",
    show_envvar=True,
    help="The table's database: a file or an SQLAlchemy URL.",
)
cache = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="EDGEPRESS_CACHE",
    show_envvar=True,
    help="Where compressed models and unfinished measurements are kept for the next call.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
