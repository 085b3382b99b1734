"""Making a model the one that an application on the board uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.session import evaluate
from edgepress.deployment.content import push_model
from edgepress.errors import AgentError, DeploymentError
from edgepress.progress import Progress, Silent
from edgepress_agent.protocol.messages import ReleaseSpec, ReleaseState, Runtime

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
    progress: Progress | None = None,
) -> ReleaseState:
    """Bring a model onto a device, run it there, check its outputs, and only then let the application use it.

    Args:
        device: an open device.
        model: what to deploy.
        app: the application's name; on the board ``apps/<app>/current`` leads to the model.
        manifest: JSON values that go beside the model: recipe, input spec, labels.
        goldens: inputs to try it with: one float array per model input, in model order, each (n, ...).
        check: is given the board's raw outputs in model order, each (n, ...), and raises what its caller wants to see
            (:class:`OutputCheckError`) if they are not the model's.
        runtime: to run it with; the device's default when left out.
        progress: where to show how far it is.

    Returns:
        what the application uses now.

    Raises:
        DeploymentError: the board could not take, run or activate it: the old release is still in use, as it is when
            ``check`` raises.
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
        return device.client.activate(ReleaseSpec(app, model.sha256, dict(manifest)))
    except AgentError as error:
        raise DeploymentError(
            f"{model.path.name} was not activated as {app} on {device.name}: {step} failed ({error}). What {app} used "
            "before is still in use",
            device.name,
        ) from error


def manifest_of(model: TFLiteModel, runtime: Runtime, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a model to the application that uses it: JSON values.

    Args:
        model: what is deployed. Inputs and outputs are described with position, dtype, shape, scale and zero point.
        runtime: what it was checked with on the board.
        report: ``report.json`` of the compression it comes from; its recipe and input spec are taken over.
    """
    origin = report or {}
    return {
        "schema": MANIFEST_SCHEMA,
        "model_sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "inputs": [asdict(tensor) for tensor in model.inputs],
        "outputs": [asdict(tensor) for tensor in model.outputs],
        "runtime": {"name": runtime.name, "version": runtime.version},
        "input_spec": origin.get("input_spec"),
        "recipe": origin.get("recipe"),
        "recipe_id": origin.get("recipe_id"),
    }
