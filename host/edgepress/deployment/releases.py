"""Making a model the one that an application on the board uses, and going back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.session import evaluate
from edgepress.deployment.content import push_model
from edgepress.errors import AgentError, DeploymentError
from edgepress.progress import Progress, Silent
from edgepress_agent.protocol.messages import HealthCheck, ReleaseSpec, ReleaseState, RollbackSpec, Runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress.devices.device import Device
    from edgepress_converters.model import TFLiteModel

    Arrays = tuple[NDArray[Any], ...]


MANIFEST_SCHEMA = 1


def deploy(
    device: Device,
    model: TFLiteModel,
    app: str,
    manifest: Mapping[str, Any],
    goldens: Arrays,
    check: Callable[[Arrays], None],
    *,
    runtime: Runtime | None = None,
    health: HealthCheck | None = None,
    progress: Progress | None = None,
) -> ReleaseState:
    """Bring a model onto a device, run it there, check its outputs, and only then let the application use it.

    Args:
        device: an open device.
        model: what to deploy.
        app: the application's name; on the board ``apps/<app>/current`` leads to the model.
        manifest: JSON values that go beside the model: recipe, input spec, labels; ``check`` may add to it.
        goldens: inputs to try it with: one float array per model input, in model order, each (n, ...).
        check: is given the board's raw outputs in model order, each (n, ...), and raises what its caller wants to see
            (:class:`OutputCheckError`) if they are not the model's.
        runtime: to run it with; the device's default when left out.
        health: what the board tries after the switch, which it takes back by itself, link or no link, when that fails.
        progress: where to show how far it is.

    Returns:
        what the application uses now.

    Raises:
        DeploymentError: the board could not take, run or activate it, or its health check failed: the old release is
            in use, as it is when ``check`` raises.
        LinkLostError: the connection ended. During the switch itself it cannot be known whether that took place;
            deploying again is safe in any case.
    """
    shown = progress or Silent()
    step = "sending it"
    try:
        push_model(device, model, shown)
        step = "running it on golden inputs"
        _, outputs = evaluate(device, model, goldens, runtime=runtime, progress=shown)
        check(outputs)
        step = "activating it"
        with shown.task(f"switching {app} on {device.name}"):
            return device.client.activate(ReleaseSpec(app, model.sha256, dict(manifest), health))
    except AgentError as error:
        if error.code == "unhealthy":  # the board has gone back, and says to what
            raise DeploymentError(f"{model.path.name} is not well as {app}: {error}", device.name) from error
        raise DeploymentError(
            f"{model.path.name} was not activated as {app} on {device.name}: {step} failed ({error}). What {app} used "
            "before is still in use",
            device.name,
        ) from error


@dataclass(frozen=True)
class DeploymentPlan:
    """What :func:`deploy` would do.

    Attributes:
        device, app: where.
        runtime: what the model would be tried with.
        current: the release that is in use now; None: there is none.
        bytes_to_send: of the model; 0: it is on the board.
        disk_free_bytes: where it would go.
        changes: False: it is in use already.
    """

    device: str
    app: str
    runtime: Runtime
    current: str | None
    bytes_to_send: int
    disk_free_bytes: int
    changes: bool


def plan_deployment(device: Device, model: TFLiteModel, app: str, runtime: Runtime) -> DeploymentPlan:
    """Find out what deploying a model would do. Nothing on the device is changed."""
    blob = device.client.blob(model.sha256)
    state = next((state for state in device.client.releases() if state.app == app), None)
    current = next((r for r in state.releases if r.release == state.current), None) if state else None
    return DeploymentPlan(
        device=device.name,
        app=app,
        runtime=runtime,
        current=current.release if current else None,
        bytes_to_send=0 if blob.present else model.size_bytes - blob.received_bytes,
        disk_free_bytes=device.facts.disk_free_bytes,
        changes=current is None or current.model_sha256 != model.sha256,
    )


def rollback(device: Device, app: str, release: str | None = None, restart_unit: str | None = None) -> ReleaseState:
    """Let an application use an earlier release again. Called again and again, it goes further and further back.

    Args:
        release: which one; None: the one that the current one replaced.
        restart_unit: of the board user's systemd, restarted after the switch.

    Raises:
        DeploymentError: there is nothing to go back to. AgentError: the release is not there or damaged, or the unit
            did not restart; its message says which.
    """
    if release is None:
        (state,) = device.client.releases(app)
        if state.previous is None:
            there = ", ".join(one.release for one in state.releases if one.release != state.current) or "none"
            raise DeploymentError(
                f"{app} on {device.name} uses {state.current or 'nothing'}, and what that replaced is not there; "
                f"other releases: {there}. `--to RELEASE` names one",
                device.name,
            )
        release = state.previous
    return device.client.rollback(RollbackSpec(app, release, restart_unit))


def manifest_of(model: TFLiteModel, runtime: Runtime, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a model to the application that uses it: JSON values.

    Args:
        model: what is deployed. Inputs and outputs are described with position, dtype, shape, scale and zero point.
        runtime: what it was checked with on the board: name, version, and the Python that has it.
        report: ``report.json`` of the compression it comes from; its recipe and input spec (labels) are taken over.
    """
    origin = report or {}
    return {
        "schema": MANIFEST_SCHEMA,
        "model_sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "inputs": [asdict(tensor) for tensor in model.inputs],
        "outputs": [asdict(tensor) for tensor in model.outputs],
        "runtime": {"name": runtime.name, "version": runtime.version, "python": runtime.python},
        "input_spec": origin.get("input_spec"),
        "recipe": origin.get("recipe"),
        "recipe_id": origin.get("recipe_id"),
    }
