"""A runtime that nothing is known of, asked on the board what it takes."""

from __future__ import annotations

from importlib import resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from edgepress.errors import ProvisioningError
from edgepress.progress import Progress, Silent
from edgepress.transport.base import describe_end, printable
from edgepress_agent.protocol.codec import WireError, loads
from edgepress_converters import runtimes
from edgepress_converters.probing import PROBE

if TYPE_CHECKING:
    from edgepress.devices.device import Device
    from edgepress_agent.protocol.messages import Runtime

_ASKING_TIMEOUT_S = 1800.0  # some thousand models are loaded, on the slowest boards


def ask_unknown(device: Device, runtime: Runtime, progress: Progress | None = None) -> None:
    """Have a runtime say what it takes, and keep it, unless that version is known.

    Raises:
        ProvisioningError: it did not answer. LinkLostError: the connection broke.
    """
    if (runtime.name, runtime.version) in runtimes.known():
        return
    name = f"{runtime.name} {runtime.version}"
    incoming = PurePosixPath(device.hello.home) / "incoming"
    script, cases = incoming / PROBE.name, incoming / "probe_cases.zip"
    with (progress or Silent()).task(f"asking {name} on {device.name} what it takes"):
        device.transport.run(["mkdir", "-p", str(incoming)])
        device.transport.put(PROBE.read_bytes(), str(script))
        shipped = resources.files("edgepress_converters") / "data" / cases.name
        device.transport.put(shipped.read_bytes(), str(cases))
        done = device.transport.run([runtime.python, str(script), "all", str(cases)], timeout_s=_ASKING_TIMEOUT_S)
        device.transport.run(["rm", "-f", str(script), str(cases)])
    try:
        if done.returncode != 0:
            said = printable(done.stderr.decode(errors="replace")[-500:]).strip()
            raise ValueError(describe_end(done.returncode, said))
        document = loads(done.stdout)
        named = isinstance(document, dict) and (document.get("runtime"), document.get("version"))
        if named != (runtime.name, runtime.version):
            raise ValueError("its answer is not of this runtime")
        runtimes.learn(document)
    except (ValueError, WireError) as error:
        raise ProvisioningError(
            f"{name} was installed on {device.name}, but does not say what it takes: {error}", device.name
        ) from error
