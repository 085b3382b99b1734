"""The requests of an :class:`AgentClient` that are about releases."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress.transport.conversation import Conversation
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.messages import (
    BlobState,
    Collected,
    HealthCheck,
    ReleaseSpec,
    ReleaseState,
    RollbackSpec,
)
from edgepress_agent.protocol.wire import Wire

COLLECT_TIMEOUT_S = 300.0  # a slow card deletes some hundred files a second


@dataclass(frozen=True)
class _Apps(Wire):
    apps: tuple[ReleaseState, ...]


class ReleaseRequests(Conversation):
    """What an application uses, and how that is changed. Errors are those of every request."""

    def blob(self, sha256: str) -> BlobState:
        """Ask what the board has of a model or an input."""
        return self._ask("stat", BlobState, {"sha256": sha256})

    def releases(self, app: str | None = None) -> tuple[ReleaseState, ...]:
        """Ask what an application uses, or what each does.

        Raises:
            AgentError: code "not-found": there is no such application.
        """
        return self._ask("releases", _Apps, {"app": app}).apps

    def activate(self, spec: ReleaseSpec) -> ReleaseState:
        """Make a model the current release of an application, atomically.

        Raises:
            AgentError: code "unhealthy": its health check failed. Whatever is raised but LinkLostError, the application
                uses what it used before.
        """
        # The check, and the restart of the unit with the old release after it.
        waits_s = 2 * spec.health.deadline_s if spec.health else 0.0
        return self._ask("activate", ReleaseState, to_wire(spec), waits_s=waits_s)

    def rollback(self, spec: RollbackSpec) -> ReleaseState:
        """Make a release that the board still has an application's current one.

        Raises:
            AgentError: code "not-found", "hash-mismatch": nothing was changed; "unhealthy": the switch took place, the
                unit did not restart.
        """
        return self._ask("rollback", ReleaseState, to_wire(spec), waits_s=HealthCheck.deadline_s)

    def undeploy(self, app: str) -> None:
        """Take all releases from an application."""
        self._ask("undeploy", _Nothing, {"app": app})

    def collect_garbage(self, keep: int, dry_run: bool = False) -> Collected:
        """Remove what nothing on the board needs, or only ask what that is.

        Args:
            keep: releases of each application beside the current one and the one it replaced.
        """
        return self._ask("gc", Collected, {"keep": keep, "dry_run": dry_run}, waits_s=COLLECT_TIMEOUT_S)


@dataclass(frozen=True)
class _Nothing(Wire):
    pass
