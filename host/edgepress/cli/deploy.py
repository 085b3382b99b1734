"""``edgepress deploy``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepress.cli import options
from edgepress.cli.releases import state_value

if TYPE_CHECKING:
    from edgepress.deployment.releases import DeploymentPlan
    from edgepress_agent.protocol.messages import ReleaseState


@click.command(epilog="Example: edgepress deploy small/model.tflite --device pi4 --app classifier")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.devices()
@click.option("--app", metavar="NAME", help="Application that uses it; default: the file's or its folder's name.")
@options.runtime
@options.restart_unit
@click.option(
    "--health-cmd",
    metavar="CMD",
    help="Run on the device after the switch (after --restart-unit); unless it ends with status 0, the switch is taken "
    "back. It is split into words as a shell does, and started without one.",
)
@click.option(
    "--health-deadline",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600, min_open=True),
    default=30.0,
    show_default=True,
    help="For --restart-unit and --health-cmd together.",
)
@options.staging
@click.option("--dry-run", is_flag=True, help="Only say what would be sent and switched.")
@options.as_json
def deploy(
    file: Path,
    devices: tuple[str, ...],
    app: str | None,
    runtime: str | None,
    restart_unit: str | None,
    health_cmd: str | None,
    health_deadline: float,
    dry_run: bool,
    as_json: bool,
    **staging: Any,
) -> None:
    """Make FILE (a .tflite) an application's current model on a device.

    It is pushed, run there and checked against this machine's outputs before the switch; on any failure the
    release before it stays in use, or is put back by the device itself. Of several devices some are tried first, and
    too many failures stop the rest; those that are off meanwhile catch up later ('edgepress fleet catch-up').
    """
    from edgepress import deploying
    from edgepress.cli.console import make_progress
    from edgepress.cli.on_devices import Answers, ask_each
    from edgepress.devices.inventory import Inventory
    from edgepress.fleet import deployment
    from edgepress.fleet.rollout import Staging
    from edgepress_agent.protocol.messages import HealthCheck

    try:
        command = tuple(shlex.split(health_cmd or ""))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--health-cmd") from None
    health = HealthCheck(restart_unit, command, health_deadline) if restart_unit or command else None
    with make_progress() as progress:
        parcel = deploying.pack(file, app)
        if dry_run:
            plans = ask_each(devices, lambda board: deploying.plan(parcel, board, runtime=runtime))
        else:
            rollout = deployment.deploy(
                parcel,
                options.resolved(devices),
                Staging(**staging),
                Inventory.load(),
                runtime=runtime,
                health=health,
                progress=progress,
            )
    if dry_run:
        plans.tell(as_json, "plans", _plan_value, _plan_lines)
    else:
        states = Answers(rollout, "`edgepress fleet catch-up` brings it there")
        states.tell(as_json, "releases", state_value, _state_lines)


def _state_lines(device: str, state: ReleaseState) -> Iterator[str]:
    yield f"{device}: {state.app} now uses {state.current} ({state.path})"


def _plan_value(plan: DeploymentPlan) -> dict[str, Any]:
    return {
        "app": plan.app,
        "runtime": f"{plan.runtime.name} {plan.runtime.version}",
        "current": plan.current,
        "bytes_to_send": plan.bytes_to_send,
        "disk_free_bytes": plan.disk_free_bytes,
        "changes": plan.changes,
    }


def _plan_lines(device: str, plan: DeploymentPlan) -> Iterator[str]:
    sent = f"{plan.bytes_to_send:,} bytes would be sent" if plan.bytes_to_send else "nothing would be sent"
    what = f"replaces {plan.current}" if plan.current else "would be its first release"
    yield (
        f"{device}: {plan.app} {what if plan.changes else f'has this model in use already ({plan.current})'}; {sent} "
        f"({plan.disk_free_bytes / 2**20:,.0f} MiB are free); tried with {plan.runtime.name} {plan.runtime.version}"
    )
