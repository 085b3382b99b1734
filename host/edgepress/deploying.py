"""``deploy`` as a command: a file made ready once on this machine, and brought to as many devices as are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.artifacts import Artifact
from edgepress.confirmation import require_compatible
from edgepress.conversion import inspect
from edgepress.deployment import releases
from edgepress.devices.device import Device
from edgepress.errors import InputError, OutputCheckError
from edgepress.verification.goldens import Goldens, goldens_of_file
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress_agent.protocol.releases import APP_NAME, APP_NAME_RULE
from edgepress_converters.pool import WorkerPool

if TYPE_CHECKING:
    from edgepress.deployment.releases import DeploymentPlan
    from edgepress.progress import Progress
    from edgepress_agent.protocol.messages import HealthCheck, ReleaseState
    from edgepress_converters.model import TFLiteModel


@dataclass(frozen=True)
class Parcel:
    """A file with all that deploying it takes.

    Attributes:
        model: the file.
        app: the application that it is for.
        goldens: inputs whose answers are known.
        report: of its compression; None for a file from elsewhere.
    """

    model: TFLiteModel
    app: str
    goldens: Goldens
    report: dict[str, Any] | None


def pack(file: str | Path, app: str | None = None) -> Parcel:
    """Open a TFLite file, with what ``compress`` left beside it, and run it here on golden inputs.

    Args:
        app: its application; by default the file's name, or its folder's where the file is called ``model.tflite``.

    Raises:
        InputError: the name is none for an application. ModelError: it is no TFLite file. ConversionError: this machine
            cannot run it.
    """
    path = Path(file)
    name = app or (path.stem if path.stem != "model" else path.resolve().parent.name)
    if not APP_NAME.fullmatch(name):
        raise InputError(f"{APP_NAME_RULE}; got {name!r}" + ("" if app else f" from {path}: give --app NAME"))
    artifact = Artifact.of_file(path)
    if artifact is not None:
        return Parcel(artifact.model, name, artifact.goldens, artifact.report)
    model = inspect(path)
    with WorkerPool() as pool:
        return Parcel(model, name, goldens_of_file(model, pool), None)


def deliver(
    parcel: Parcel,
    board: Device,
    *,
    runtime: str | None = None,
    health: HealthCheck | None = None,
    progress: Progress | None = None,
) -> ReleaseState:
    """Deploy a parcel to one device, after the device itself ran it correctly.

    Raises:
        OutputCheckError: the board's outputs are wrong. DeviceError: it failed otherwise. Nothing was switched then.
    """
    model = parcel.model
    chosen = board.runtime(runtime)
    require_compatible(model, chosen, board.name)

    manifest = releases.manifest_of(model, chosen, parcel.report)

    def check(outputs: tuple[Any, ...]) -> None:
        verdict = check_outputs(parcel.goldens, model, outputs)
        if verdict.level is OutputCheckLevel.WRONG:
            raise OutputCheckError(f"{model.path} answers wrongly on {board.name}: {verdict.message}")
        manifest["output_check"] = {"level": str(verdict.level), "message": verdict.message}
        if progress is not None and verdict.level is not OutputCheckLevel.IDENTICAL:
            progress.note(f"{board.name}: outputs {verdict.level}: {verdict.message}")

    return releases.deploy(
        board,
        model,
        parcel.app,
        manifest,
        parcel.goldens.inputs,
        check,
        runtime=chosen,
        health=health,
        progress=progress,
    )


def plan(parcel: Parcel, board: Device, *, runtime: str | None = None) -> DeploymentPlan:
    """Say what :func:`deliver` would do; nothing on the board is changed.

    Raises:
        RuntimeCompatibilityError: the board's runtime does not take the model. ProvisioningError: it has none.
    """
    chosen = board.runtime(runtime)
    require_compatible(parcel.model, chosen, board.name)
    return releases.plan_deployment(board, parcel.model, parcel.app, chosen)


def deploy(
    file: str | Path,
    *,
    device: str,
    app: str | None = None,
    runtime: str | None = None,
    health: HealthCheck | None = None,
    progress: Progress | None = None,
) -> ReleaseState:
    """Make a TFLite file an application's current model on a device, after the board itself ran it correctly.

    Args:
        device: a name of the inventory.
        app: the application's name; see :func:`pack`.
        runtime: ``NAME`` or ``NAME==VERSION`` instead of the device's choice.
        health: what has to succeed on the board after the switch, or it is taken back.

    Raises:
        OutputCheckError: the board's outputs are wrong. DeploymentError, DeviceError: nothing was switched.
    """
    parcel = pack(file, app)
    with Device.open(device) as board:
        return deliver(parcel, board, runtime=runtime, health=health, progress=progress)
