"""``edgepress jobs``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepress.cli import options

if TYPE_CHECKING:
    from edgepress.table.result import Result
    from edgepress_agent.protocol.messages import JobState


@click.group(epilog="Example: edgepress jobs list --device @lab")
def jobs() -> None:
    """See what devices do and still have to give, and take it home."""


@jobs.command("list", epilog="Example: edgepress jobs list --device pi4")
@options.devices()
@options.as_json
def list_(devices: tuple[str, ...], as_json: bool) -> None:
    """List the jobs of a device: those that run or wait, and reports that nobody has taken home."""
    from edgepress.cli.on_devices import ask_each

    def value(states: tuple[JobState, ...]) -> dict[str, Any]:
        return {"jobs": [dataclasses.asdict(state) for state in states]}

    ask_each(devices, lambda board: board.client.jobs()).tell(as_json, "devices", value, _job_lines)


@jobs.command(epilog="Example: edgepress jobs collect --device pi4")
@options.devices()
@options.database
@options.cache
@options.as_json
def collect(devices: tuple[str, ...], db: str | None, cache: Path | None, as_json: bool) -> None:
    """Add the rows of measurements whose link broke, or whose command was killed, to the table.

    A measurement that still runs is waited for. Those that another machine has started are left to it.
    """
    from edgepress import confirmation
    from edgepress.cli.console import make_progress
    from edgepress.cli.on_devices import ask_each
    from edgepress.pending import PendingJobs
    from edgepress.pipeline import cache_folder
    from edgepress.table.store import ResultStore

    folder = cache_folder(cache) / "pending"
    with make_progress() as progress, ResultStore.open(db) as store:
        answers = ask_each(
            devices, lambda board: confirmation.collect(board, store, PendingJobs(folder / board.name), progress)
        )
    answers.tell(as_json, "devices", lambda rows: {"rows": [row.as_row() for row in rows]}, _row_lines)


@jobs.command(epilog="Example: edgepress jobs cancel 20261124T101500123-0a1b2c3d --device pi4")
@click.argument("job_id", metavar="JOB")
@options.devices()
@options.as_json
def cancel(job_id: str, devices: tuple[str, ...], as_json: bool) -> None:
    """End JOB on a device and throw away what it has found, so that others get the board."""
    from edgepress.cli.on_devices import ask_each
    from edgepress.devices.jobs import cancel

    ask_each(devices, lambda board: cancel(board, job_id)).tell(
        as_json, "cancelled", lambda _: {"job": job_id}, lambda device, _: [f"{device}: job {job_id} is gone"]
    )


def _job_lines(device: str, states: tuple[JobState, ...]) -> Iterator[str]:
    if not states:
        yield f"{device}: no job"
    for state in states:
        where = f"{state.status} ({state.done}/{state.total})" if state.status == "running" else state.status
        yield f"{device}: {state.job_id}  {state.kind:9} {where:16} {state.requested_by}  {state.message}"


def _row_lines(device: str, rows: tuple[Result, ...]) -> Iterator[str]:
    yield f"{device}: {len(rows)} row{'s' * (len(rows) != 1)} of measurements that were left behind"
