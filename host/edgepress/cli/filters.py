"""Options that choose rows of the table, the same on every command that reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from edgepress.cli import options

Command = TypeVar("Command", bound=Callable[..., Any])

# As in edgepress.table.layout and .conditions, which `--help` need not import; a test holds them together.
SORTS = ("time", "model", "recipe", "size", "metric", "p50", "p95", "memory")
CONDITIONS = ("device", "runtime", "threads", "governor", "emulated", "data", "origin")

_AGO = re.compile(r"(\d+)([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def split(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback of options that take names with commas between them."""
    return () if value is None else options.split(context, parameter, (value,))


def moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """Callback of ``--since``."""
    del context, parameter
    if value is None:
        return None
    ago = _AGO.fullmatch(value)
    if ago:
        return datetime.now().astimezone() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a date such as 2026-11-24 nor an age such as 7d") from None


def rows(command: Command) -> Command:
    """The options; :func:`query` takes what they give."""
    for option in reversed(
        (
            options.devices(required=False),
            click.option("--model", metavar="TEXT", help="Only models whose name contains this."),
            click.option(
                "--recipe",
                "-r",
                "recipes",
                metavar="NAME",
                multiple=True,
                callback=options.split,
                help="Only rows of this recipe; may be repeated or comma-separated.",
            ),
            click.option("--runtime", metavar="NAME[==VERSION]", help="Only rows of this runtime."),
            click.option(
                "--since", metavar="DATE|AGE", callback=moment, help="Only rows from then on: 2026-11-24, 12h, 7d, 4w."
            ),
            click.option("--commit", metavar="HASH", help="Only rows of this git commit of your project."),
            click.option("--stable-only", is_flag=True, help="Only rows that can be believed."),
        )
    ):
        command = option(command)
    return command


def query(devices: Sequence[str], commit: str | None = None, **wanted: Any) -> dict[str, Any]:
    """What :meth:`edgepress.table.store.ResultStore.rows` takes."""
    # A name is taken as it is: a device may have left the inventory, its rows stay.
    names = [name for word in devices for name in (options.resolved((word,)) if word.startswith("@") else (word,))]
    return {"devices": names, "starts": {"project_commit": commit} if commit else None, **wanted}


def conditions(names: Sequence[str]) -> frozenset[str]:
    """What ``--mix`` names.

    Raises:
        click.BadParameter: there is no such condition.
    """
    for name in names:
        if name not in CONDITIONS:
            raise click.BadParameter(f"no condition {name!r}; there are {', '.join(CONDITIONS)}", param_hint="--mix")
    return frozenset(names)
