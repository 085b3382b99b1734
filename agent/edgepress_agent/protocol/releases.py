"""Which model an application on the board uses, and what may be thrown away there. Part of the messages.

A change here needs a line in the history of ``PROTOCOL_VERSION`` in :mod:`edgepress_agent.protocol.messages`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from edgepress_agent.protocol.wire import Wire

APP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # it is the name of a folder
APP_NAME_RULE = "an application's name has lower case letters, digits, '.', '_' and '-', at most 64"


@dataclass(frozen=True)
class HealthCheck(Wire):
    """What has to succeed on the board after a switch; otherwise the switch is taken back."""

    restart_unit: Optional[str] = None  # of `systemctl --user`: restarted, and has to be active then
    command: Tuple[str, ...] = ()  # has to end with status 0; started without a shell
    deadline_s: float = 30.0  # for both together


@dataclass(frozen=True)
class ReleaseSpec(Wire):
    """A model to become an application's current release. It is in the content store and has passed its check."""

    app: str
    model_sha256: str
    manifest: Dict[str, Any]  # recipe, input spec, outputs, labels, runtime: what an application needs
    health: Optional[HealthCheck] = None


@dataclass(frozen=True)
class RollbackSpec(Wire):
    """Going back to a release that the board still has."""

    app: str
    release: str
    restart_unit: Optional[str] = None  # restarted after the switch, which stays whatever comes of that


@dataclass(frozen=True)
class Release(Wire):
    """A model that an application used, uses, or was meant to use."""

    release: str  # its id: a number that grows, and the beginning of the model's hash
    model_sha256: str
    size_bytes: int
    activated_unix_ns: int  # by the board's clock
    replaced: Optional[str]  # what was current then: where a rollback leads
    recipe_id: Optional[str]  # of the manifest


@dataclass(frozen=True)
class ReleaseState(Wire):
    """What an application on the board uses."""

    app: str
    current: Optional[str]  # release id
    previous: Optional[str]  # what current replaced, if it is still there
    releases: Tuple[Release, ...]  # oldest first
    path: Optional[str]  # stable path of the current model, absolute
    on_trial: bool = False  # the switch is made, its health check has not ended


@dataclass(frozen=True)
class Collected(Wire):
    """What a collection of garbage removed, or would remove."""

    releases: Tuple[str, ...]  # app/release
    blobs: int  # models and inputs that no release and no running job uses
    uploads: int  # unfinished and a day old
    agents: int  # that no process runs from
    freed_bytes: int
    recent_bytes: int  # of blobs that were spared because a host has asked for them a moment ago
