"""``edgepress device check`` and ``edgepress device calibrate``."""

from __future__ import annotations

from pathlib import Path

import click

from edgepress.cli import options


@click.command(epilog="Example: edgepress device check pi4 --bundle pi4.tar.gz")
@click.argument("name")
@click.option(
    "--bundle",
    metavar="FILE.tar.gz",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what the board's files and programs say, word for word: for a bug report or a new profile.",
)
@options.as_json
def check(name: str, bundle: Path | None, as_json: bool) -> None:
    """Connect to a device: what it is, what would spoil a measurement, who is using it, which jobs wait."""
    import dataclasses

    from edgepress.benchmarking.calibration import load_calibration
    from edgepress.cli.printing import print_facts, print_json
    from edgepress.devices.bundle import write_bundle
    from edgepress.devices.device import Device
    from edgepress.devices.profiles import fitting_profile
    from edgepress.devices.readiness import find_spoilers

    with Device.open(name) as board:
        facts, lock, jobs, config, profile = board.facts, board.lock(), board.client.jobs(), board.config, board.profile
        if bundle is not None:
            write_bundle(board, bundle)
    spoilers = find_spoilers(facts, config, profile)
    fitting = fitting_profile(facts)
    calibration = load_calibration(name, facts.physical_id)
    if as_json:
        print_json(
            {
                "schema": 1,
                "device": name,
                "facts": dataclasses.asdict(facts),
                "lock": dataclasses.asdict(lock),
                "jobs": [dataclasses.asdict(job) for job in jobs],
                "fitting_profile": fitting,
                "spoilers": [dataclasses.asdict(spoiler) for spoiler in spoilers],
                "calibration": dataclasses.asdict(calibration) if calibration else None,
            }
        )
        return
    click.echo(f"{name} answers")
    print_facts(facts)
    click.echo(f"  {'profile':13} {config.profile or 'none'}" + (f" (fits: {fitting})" if fitting else ""))
    if calibration is not None:
        click.echo(
            f"  {'own noise':13} {calibration.floor:.1%} in a session, {calibration.between:.1%} between sessions"
        )
    click.echo(f"  {'in use by':13} " + (f"{lock.requested_by}, job {lock.job_id}" if lock.held else "nobody"))
    for job in jobs:
        click.echo(f"  job {job.job_id}: {job.kind}, {job.status}, {job.done}/{job.total} ({job.requested_by})")
    for spoiler in spoilers:
        click.echo(f"would spoil a measurement: {spoiler.what}\n  {spoiler.remedy}")
    if not spoilers:
        click.echo("nothing was found that would spoil a measurement")
    if bundle is not None:
        click.echo(f"wrote {bundle}: no serial numbers are in it, but read it before you send it to anybody")
    if not facts.runtimes:
        click.echo(f"next: edgepress device provision {name}")


@click.command(epilog="Example: edgepress device calibrate pi4 model.tflite")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@options.plan
@click.option("--sessions", type=click.IntRange(2, 100), default=5, show_default=True, help="Each has FILE twice.")
@options.as_json
def calibrate(name: str, file: Path, plan: str, sessions: int, as_json: bool) -> None:
    """Measure FILE against itself on a device: differences as small as that mean nothing there.

    `edgepress bench --compare` claims a difference only above twice what is found here.
    """
    import dataclasses

    from edgepress.benchmarking import calibration
    from edgepress.benchmarking.plans import PLANS
    from edgepress.cli.console import make_progress
    from edgepress.cli.printing import print_json
    from edgepress.conversion import inspect
    from edgepress.devices.device import Device

    model = inspect(file)
    with make_progress() as progress, Device.open(name) as board:
        found = calibration.calibrate(board, model, PLANS[plan], sessions=sessions, progress=progress)
    if as_json:
        print_json({"schema": 1, **dataclasses.asdict(found)})
    else:
        click.echo(
            f"{name}: the same file differs from itself by up to {found.floor:.1%} in one session and "
            f"{found.between:.1%} between {found.sessions} sessions"
        )
