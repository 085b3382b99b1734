"""``edgepress fleet``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from edgepress.cli import options

if TYPE_CHECKING:
    from edgepress.fleet.status import AppStatus, BoardStatus
    from edgepress_agent.protocol.messages import LockState, ReleaseState


@click.group(epilog="Example: edgepress fleet status --device @lab")
def fleet() -> None:
    """See what runs on many devices, and bring those up to date that were off."""


@fleet.command(epilog="Example: edgepress fleet status --device @lab")
@options.devices(required=False)
@options.parallel
@options.as_json
def status(devices: tuple[str, ...], parallel: int, as_json: bool) -> None:
    """Say what runs where, what has drifted from what was deployed, and who is using which device.

    Without --device: all of the inventory.
    """
    from edgepress.cli.on_devices import Answers
    from edgepress.devices.inventory import Inventory
    from edgepress.fleet.status import ask

    inventory = Inventory.load()
    Answers(ask(_named(devices), inventory, parallel)).tell(as_json, "devices", _status_value, _status_lines)


@fleet.command("catch-up", epilog="Example: edgepress fleet catch-up --device @lab")
@options.devices(required=False)
@options.staging
@options.as_json
def catch_up(devices: tuple[str, ...], as_json: bool, **staging: Any) -> None:
    """Bring devices to what they are meant to use: what was deployed while they were off.

    Without --device: all of the inventory. What each is meant to use stands in fleet.json beside it.
    """
    from edgepress.cli.console import make_progress
    from edgepress.cli.on_devices import Answers
    from edgepress.devices.inventory import Inventory
    from edgepress.fleet.deployment import catch_up
    from edgepress.fleet.rollout import Staging

    with make_progress() as progress:
        rollout = catch_up(_named(devices), Staging(**staging), Inventory.load(), progress)
    Answers(rollout).tell(as_json, "devices", _changes_value, _changes_lines)


def _named(devices: tuple[str, ...]) -> list[str]:
    from edgepress.devices.inventory import Inventory

    return options.resolved(devices) if devices else list(Inventory.load().devices)


def _status_value(board: BoardStatus) -> dict[str, Any]:
    return {
        "apps": [{**dataclasses.asdict(app), "has_drifted": app.has_drifted} for app in board.apps],
        "lock": dataclasses.asdict(board.lock),
        "jobs": [dataclasses.asdict(job) for job in board.jobs],
    }


def _status_lines(device: str, board: BoardStatus) -> Iterator[str]:
    waiting = f", {len(board.jobs)} job{'s' * (len(board.jobs) != 1)} on it" if board.jobs else ""
    yield f"{device}: {_in_use(board.lock)}{waiting}"
    for app in board.apps:
        yield f"  {app.app} uses {app.release or 'nothing'}{_remark(app)}"


def _in_use(lock: LockState) -> str:
    if not lock.held:
        return "free"
    since = ""
    if lock.since_unix_ns is not None:
        when = datetime.fromtimestamp(lock.since_unix_ns / 1e9, UTC).astimezone()
        since = f" since {when:%Y-%m-%d %H:%M:%S} (its clock)"
    return f"in use by {lock.requested_by or 'somebody'}{since}"


def _remark(app: AppStatus) -> str:
    if app.on_trial:
        return ", on trial"
    if app.has_drifted:
        return f": is meant to use model {(app.meant_sha256 or '')[:12]} (edgepress fleet catch-up)"
    return "" if app.meant_sha256 else " (nobody deployed it from here)"


def _changes_value(states: tuple[ReleaseState, ...]) -> dict[str, Any]:
    return {"releases": [{"app": state.app, "current": state.current, "path": state.path} for state in states]}


def _changes_lines(device: str, states: tuple[ReleaseState, ...]) -> Iterator[str]:
    if not states:
        yield f"{device}: nothing to catch up with"
    for state in states:
        yield f"{device}: {state.app} now uses {state.current} ({state.path})"
