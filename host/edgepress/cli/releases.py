"""``edgepress releases``, ``rollback``, ``undeploy`` and ``gc``: what is on a device, and what is not to stay there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from edgepress.cli import options

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import Collected, ReleaseState

KEPT = 3  # by `gc`, beside the current and the previous one


@click.command(epilog="Example: edgepress releases --device pi4")
@options.devices()
@click.option("--app", metavar="NAME", help="Only of this application.")
@options.as_json
def releases(devices: tuple[str, ...], app: str | None, as_json: bool) -> None:
    """List the applications of a device and their releases."""
    from edgepress.cli.on_devices import ask_each

    ask_each(devices, lambda board: board.client.releases(app)).tell(as_json, "devices", _apps_value, _apps_lines)


@click.command(epilog="Example: edgepress rollback classifier --device pi4")
@click.argument("app")
@options.devices()
@click.option("--to", "release", metavar="RELEASE", help="This one, instead of the one that the current one replaced.")
@options.restart_unit
@options.parallel
@options.as_json
def rollback(
    app: str, devices: tuple[str, ...], release: str | None, restart_unit: str | None, parallel: int, as_json: bool
) -> None:
    """Let APP use an earlier release again. Repeated, it goes further back."""
    from edgepress.cli.on_devices import Answers
    from edgepress.devices.inventory import Inventory
    from edgepress.fleet import deployment
    from edgepress.fleet.rollout import Staging

    rollout = deployment.rollback(
        app,
        options.resolved(devices),
        Staging(parallel),
        Inventory.load(),
        release=release,
        restart_unit=restart_unit,
    )
    Answers(rollout, "`edgepress fleet catch-up` goes back there").tell(
        as_json,
        "releases",
        state_value,
        lambda device, state: [f"{device}: {app} uses {state.current} again"],
    )


@click.command(epilog="Example: edgepress undeploy classifier --device pi4")
@click.argument("app")
@options.devices()
@options.as_json
def undeploy(app: str, devices: tuple[str, ...], as_json: bool) -> None:
    """Take APP and all its releases from a device. 'edgepress gc' then frees what its models took."""
    from edgepress.cli.on_devices import Answers
    from edgepress.devices.inventory import Inventory
    from edgepress.fleet import deployment

    Answers(deployment.undeploy(app, options.resolved(devices), Inventory.load())).tell(
        as_json, "undeployed", lambda app: {"app": app}, lambda device, app: [f"{device}: {app} is gone"]
    )


@click.command(epilog="Example: edgepress gc --device pi4 --keep 1 --dry-run")
@options.devices()
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=KEPT,
    show_default=True,
    help="Releases of each application beside the current and the previous one; the newest stay.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@options.as_json
def gc(devices: tuple[str, ...], keep: int, dry_run: bool, as_json: bool) -> None:
    """Delete what nothing on a device needs: old releases, models, inputs, uploads and agents."""
    from edgepress.cli.on_devices import ask_each

    def lines(device: str, collected: Collected) -> Iterator[str]:
        would = "would go" if dry_run else "gone"
        counts = {
            "release": len(collected.releases),
            "model or input": collected.blobs,
            "unfinished upload": collected.uploads,
            "agent": collected.agents,
        }
        parts = [_plural(count, what) for what, count in counts.items() if count]
        freed = f"{', '.join(parts)} {would}: {_size(collected.freed_bytes)}" if parts else "nothing to collect"
        recent = collected.recent_bytes
        spared = f" ({_size(recent)} that were asked for in the last ten minutes stay)" if recent else ""
        yield f"{device}: {freed}{spared}"

    ask_each(devices, lambda board: board.client.collect_garbage(keep, dry_run)).tell(
        as_json, "collected", lambda collected: {**dataclasses.asdict(collected), "dry_run": dry_run}, lines
    )


def state_value(state: ReleaseState) -> dict[str, Any]:
    """What a switch is in JSON."""
    return {"app": state.app, "current": state.current, "previous": state.previous, "path": state.path}


def _apps_value(states: tuple[ReleaseState, ...]) -> dict[str, Any]:
    return {"apps": [dataclasses.asdict(state) for state in states]}


def _apps_lines(device: str, states: tuple[ReleaseState, ...]) -> Iterator[str]:
    if not states:
        yield f"{device}: no application"
    for state in states:
        trial = ", on trial" if state.on_trial else ""
        yield f"{device}: {state.app} uses {state.current or 'nothing'}{trial}"
        for release in reversed(state.releases):
            mark = {state.current: "current", state.previous: "previous"}.get(release.release, "")
            when = datetime.fromtimestamp(release.activated_unix_ns / 1e9, UTC).astimezone()
            recipe = f"  recipe {release.recipe_id[:12]}" if release.recipe_id else ""
            yield (
                f"  {release.release}  {when:%Y-%m-%d %H:%M}  {_size(release.size_bytes):>10}  "
                f"sha256 {release.model_sha256[:12]}  {mark:8}{recipe}".rstrip()
            )


def _plural(count: int, what: str) -> str:
    many = {"model or input": "models and inputs"}.get(what, f"{what}s")
    return f"{count} {what if count == 1 else many}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB" if size_bytes >= 1 << 20 else f"{size_bytes / 2**10:,.1f} KiB"
