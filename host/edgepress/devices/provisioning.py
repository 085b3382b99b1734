"""From a board that can be reached to one that runs models."""

from __future__ import annotations

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.jobs import requester, run_job
from edgepress.devices.offline import install_offline
from edgepress.devices.probing import ask_unknown
from edgepress.devices.runtimes import choose_runtime, resolve_runtime
from edgepress.errors import DiskFullError, ProvisioningError
from edgepress.progress import Progress, Silent
from edgepress.transport.agent_errors import agent_error
from edgepress_agent.protocol.messages import InstallSpec, JobSpec, Runtime

INSTALL_DEADLINE_S = 1800.0  # the slowest boards compile, from the slowest cards


def provision(
    name: str,
    runtime: str | None = None,
    *,
    offline: bool = False,
    inventory: Inventory | None = None,
    progress: Progress | None = None,
) -> Runtime:
    """Bring the agent and a TFLite runtime onto a device. What is there already is not installed again.

    Args:
        name: of the device.
        runtime: ``NAME`` or ``NAME==VERSION``; None: what the inventory wants, else the newest that fits the board.
        offline: the wheels are fetched on this machine and sent; otherwise the device fetches them itself.
        inventory: the user's own when left out.
        progress: where to show how far it is.

    Raises:
        TransportError: it cannot be reached.
        ProvisioningError: no runtime fits, or the installation failed: with the end of its log.
        DiskFullError: no room for it.
    """
    with Device.open(name, inventory) as device:
        return install_runtime(device, runtime, progress, offline=offline)


def install_runtime(
    device: Device, runtime: str | None = None, progress: Progress | None = None, *, offline: bool = False
) -> Runtime:
    """Install a runtime on an open device; see :func:`provision`. One of a version that nothing is known of is asked
    what it takes, once on this machine."""
    wanted = runtime or device.config.runtime
    runtime_there = choose_runtime(device.facts.runtimes, wanted) or _bring(device, wanted, progress, offline)
    ask_unknown(device, runtime_there, progress)
    return runtime_there


def _bring(device: Device, wanted: str | None, progress: Progress | None, offline: bool) -> Runtime:
    spec = resolve_runtime(device.facts, wanted)
    if offline:
        install_offline(device, spec, progress)
        return device.runtime(f"{spec.name}=={spec.version}")
    if not device.facts.has_venv:
        raise ProvisioningError(
            f"{device.name} has Python {device.facts.python_version} without the module venv; install it there: "
            f"sudo apt install python3-venv, or do without: edgepress device provision {device.name} --offline",
            device.name,
        )
    return _install(device, spec, progress or Silent())


def _install(device: Device, spec: InstallSpec, progress: Progress) -> Runtime:
    job = JobSpec(
        kind="install",
        requested_by=requester(),
        install=spec,
        deadline_s=INSTALL_DEADLINE_S,
    )
    report = run_job(device, job, f"installing {spec.name} {spec.version} on {device.name}", progress)
    device.client.acknowledge(report.job_id)
    if report.failure is not None:
        failure = agent_error(report.failure, device.name, report.job_id)
        if isinstance(failure, DiskFullError):
            raise failure
        raise ProvisioningError(
            f"{spec.name} {spec.version} could not be installed: {failure}", device.name
        ) from failure
    device.refresh()
    return device.runtime(f"{spec.name}=={spec.version}")
