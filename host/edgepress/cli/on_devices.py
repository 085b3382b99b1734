"""The same thing done on each device that was named: one that fails does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from edgepress.cli import options
from edgepress.errors import EdgepressError

if TYPE_CHECKING:
    from edgepress.devices.device import Device

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Answers(Generic[Answer]):
    """What devices answered, and what failed on others."""

    given: Sequence[tuple[str, Answer]]
    failures: Sequence[tuple[str, EdgepressError]]

    def tell(
        self,
        as_json: bool,
        key: str,
        value: Callable[[Answer], dict[str, Any]],
        lines: Callable[[str, Answer], Iterable[str]],
    ) -> None:
        """Print them as one JSON document or as lines; failures to stderr.

        Raises:
            click.exceptions.Exit: something failed.
        """
        if as_json:
            from edgepress.cli.printing import print_json

            failures = [
                {"device": device, "type": type(error).__name__, "message": str(error)}
                for device, error in self.failures
            ]
            given = [{"device": device, **value(answer)} for device, answer in self.given]
            print_json({"schema": 1, key: given, "failures": failures})
        else:
            for device, answer in self.given:
                for line in lines(device, answer):
                    click.echo(line)
        for device, error in self.failures:
            click.echo(f"error: {device}: {error}", err=True)
        if self.failures:
            raise click.exceptions.Exit(1)


def ask_each(devices: tuple[str, ...], act: Callable[[Device], Answer]) -> Answers[Answer]:
    """Open the devices of ``--device`` one after another and do something with each.

    Raises:
        EdgepressError: only one was named, and it failed.
    """
    from edgepress.devices.device import Device

    names = options.resolved(devices)
    given: list[tuple[str, Answer]] = []
    failures: list[tuple[str, EdgepressError]] = []
    for name in names:
        try:
            with Device.open(name) as board:
                given.append((name, act(board)))
        except EdgepressError as error:
            if len(names) == 1:
                raise
            failures.append((name, error))
    return Answers(given, failures)
