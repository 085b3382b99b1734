"""Bringing the agent onto a board and starting it there."""

from __future__ import annotations

import secrets

from edgepress.devices.agent_archive import agent_archive
from edgepress.devices.inventory import DeviceConfig
from edgepress.devices.reach import agent_command, agent_home
from edgepress.errors import LinkLostError, ProvisioningError
from edgepress.transport.agent_client import AgentClient
from edgepress.transport.base import Completed, Transport, describe_end, printable
from edgepress_agent.protocol.messages import Hello

ADOPT_TIMEOUT_S = 120.0


def start_agent(config: DeviceConfig, transport: Transport) -> tuple[AgentClient, Hello]:
    """Start exactly this host's agent on a device, bringing it there when it is missing, and say hello.

    Raises:
        ProvisioningError: no agent can run there.
        LinkLostError: the link broke, or the agent ended at once: with what it said.
    """
    if config.target is None:
        client = AgentClient(transport.open(agent_command(config, "-m", "edgepress_agent", "serve")), config.name)
        return client, client.hello()
    archive = agent_archive()
    serve = agent_command(config, f"{agent_home(config)}/agents/{archive.sha256}.pyz", "serve")
    client = AgentClient(transport.open(serve), config.name)
    try:
        return client, client.hello()
    except LinkLostError:  # most likely the file is not there: one round trip is saved whenever it is
        client.close()
        adopt_agent(config, transport)
    client = AgentClient(transport.open(serve), config.name)
    return client, client.hello()


def adopt_agent(config: DeviceConfig, transport: Transport) -> None:
    """Bring this host's agent onto a board and make it the board's current one.

    Raises:
        ProvisioningError: no Python there, or one that is too old, or the agent refused its own file.
    """
    archive = agent_archive()
    incoming = f"{agent_home(config)}/incoming"
    part = f"{incoming}/{archive.sha256}-{secrets.token_hex(4)}.pyz"  # two hosts may do this at the same moment
    made = transport.run(["mkdir", "-p", incoming])
    if made.returncode != 0:
        raise ProvisioningError(f"{config.name}: {incoming} cannot be made ({_ending(made)})", config.name)
    transport.put(archive.data, part)
    adopted = transport.run(agent_command(config, part, "adopt", "--sha256", archive.sha256), timeout_s=ADOPT_TIMEOUT_S)
    if adopted.returncode != 0:
        transport.run(["rm", "-f", part])
    if adopted.returncode == 127:
        raise ProvisioningError(
            f"{config.name} has no {config.python or 'python3'}: install it (sudo apt install python3), or name "
            f"another with `python = ...` in devices.toml ({_ending(adopted)})",
            config.name,
        )
    if adopted.returncode != 0:
        raise ProvisioningError(
            f"the agent cannot run on {config.name}, which needs Python 3.9 or newer ({_ending(adopted)})", config.name
        )


def _ending(completed: Completed) -> str:
    said = (completed.stderr or completed.stdout).decode(errors="replace")  # `adopt` answers on its standard output
    return describe_end(completed.returncode, printable(said[-1000:]).strip())
