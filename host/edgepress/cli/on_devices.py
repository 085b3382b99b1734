"""The same thing done on each device that was named: one that fails does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import click

from edgepress.cli import options
from edgepress.fleet.rollout import Rollout, Staging, roll_out

if TYPE_CHECKING:
    from edgepress.devices.device import Device

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Answers(Generic[Answer]):
    """What came of something on each device.

    Attributes:
        rollout: the answers, and what failed.
        later: what becomes of devices that did not answer and are remembered.
    """

    rollout: Rollout[Answer]
    later: str = ""

    def __post_init__(self) -> None:
        """Refuse a single device that failed: its error is the command's.

        Raises:
            EdgepressError: that error.
        """
        (first, *others) = self.rollout.results or (None,)
        if first is not None and first.error is not None and not others:
            raise first.error

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
        given = [result for result in self.rollout.results if result.status == "done"]
        failures = [(result, result.error) for result in self.rollout.results if result.error is not None]
        left_out = self.rollout.devices("left out")
        if as_json:
            from edgepress.cli.printing import print_json

            print_json(
                {
                    "schema": 1,
                    key: [{"device": result.device, **value(cast("Answer", result.answer))} for result in given],
                    "failures": [
                        {
                            "device": result.device,
                            "status": result.status,
                            "type": type(error).__name__,
                            "message": str(error),
                        }
                        for result, error in failures
                    ],
                    "left_out": list(left_out),
                }
            )
        else:
            for result in given:
                for line in lines(result.device, cast("Answer", result.answer)):
                    click.echo(line)
        for result, error in failures:
            click.echo(f"error: {result.device}: {error}", err=True)
        remembered = [result.device for result in self.rollout.results if result.is_remembered]
        if remembered:
            click.echo(f"{', '.join(remembered)} did not answer: {self.later}", err=True)
        if left_out:
            click.echo(f"stopped, not begun on {', '.join(left_out)}: too many have failed, or no canary", err=True)
        if failures or left_out:
            raise click.exceptions.Exit(1)


def ask_each(devices: tuple[str, ...], act: Callable[[Device], Answer]) -> Answers[Answer]:
    """Open the devices of ``--device``, several at a time, and do something with each.

    Raises:
        EdgepressError: only one was named, and it failed.
    """
    from edgepress.devices.device import Device

    def on(name: str) -> Answer:
        with Device.open(name) as board:
            return act(board)

    return Answers(roll_out(options.resolved(devices), on, Staging()))
