"""How an uploaded zipapp becomes the board's agent: it looks after itself."""

from __future__ import annotations

import platform
import shutil
from typing import Any, Dict

from edgepress_agent import __version__, launch
from edgepress_agent.durable import only_one, sha256_of, switch_link, sync_directory, sync_file
from edgepress_agent.home import Home
from edgepress_agent.protocol.messages import PROTOCOL_VERSION


def adopt(home: Home, sha256: str) -> Dict[str, Any]:
    """Take the zipapp that runs this into ``agents/`` under its hash and make it current, durably.

    Running it again, from wherever, changes nothing.

    Returns:
        path, sha256, agent_version, protocol, python_version.

    Raises:
        ValueError: this is no zipapp, or its content has another hash.
    """
    uploaded = launch.package_root()
    if not uploaded.is_file():
        raise ValueError(f"only a zipapp can be adopted; this agent runs from the folder {uploaded}")
    found = sha256_of(uploaded)
    if found != sha256:
        raise ValueError(f"expected an agent with sha256 {sha256}, got {found}; upload it again")
    home.agents.mkdir(parents=True, exist_ok=True)
    adopted = home.agents / f"{sha256}.pyz"
    with only_one(home.agents):
        for debris in home.agents.glob(".*"):
            debris.unlink(missing_ok=True)
        if not adopted.exists() or sha256_of(adopted) != sha256:
            incoming = home.agents / f".{sha256}"
            shutil.copyfile(uploaded, incoming)
            sync_file(incoming)
            incoming.replace(adopted)
            sync_directory(home.agents)
        switch_link(home.agents / "current.pyz", adopted.name)
    answer = {
        "path": str(adopted),
        "sha256": sha256,
        "agent_version": __version__,
        "protocol": PROTOCOL_VERSION,
        "python_version": platform.python_version(),
    }
    if uploaded != adopted.resolve():
        uploaded.unlink()  # last: Python reads its modules from this file
    return answer
