"""What runs where, whether that is what is meant to run there, and who is using the boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepress.devices.device import Device
from edgepress.fleet.deployment import model_in_use
from edgepress.fleet.intents import Intent, Intents
from edgepress.fleet.rollout import Rollout, Staging, roll_out
from edgepress_agent.protocol.messages import JobState, LockState

if TYPE_CHECKING:
    from edgepress.devices.inventory import Inventory


@dataclass(frozen=True)
class AppStatus:
    """An application of a board.

    Attributes:
        app: its name.
        release, model_sha256: what it uses; None: nothing.
        meant_sha256: the model that it is meant to use; None: nobody said.
        on_trial: its last switch is made, the health check after it has not ended.
    """

    app: str
    release: str | None
    model_sha256: str | None
    meant_sha256: str | None
    on_trial: bool = False

    @property
    def has_drifted(self) -> bool:
        """Whether it uses something else than it is meant to."""
        return self.meant_sha256 is not None and self.meant_sha256 != self.model_sha256


@dataclass(frozen=True)
class BoardStatus:
    """A board that answered."""

    apps: tuple[AppStatus, ...]
    lock: LockState
    jobs: tuple[JobState, ...]


def ask(names: Sequence[str], inventory: Inventory, parallel: int) -> Rollout[BoardStatus]:
    """Ask boards what they do."""
    intents = Intents(inventory)

    def act(name: str) -> BoardStatus:
        with Device.open(name, inventory) as board:
            return status_of(board, intents.of(name))

    return roll_out(names, act, Staging(parallel))


def status_of(board: Device, wanted: Mapping[str, Intent]) -> BoardStatus:
    """Ask one board, and compare with what is meant."""
    states = {state.app: state for state in board.client.releases()}
    apps = []
    for app in sorted({*states, *wanted}):
        state, intent = states.get(app), wanted.get(app)
        apps.append(
            AppStatus(
                app=app,
                release=state.current if state else None,
                model_sha256=model_in_use(state) if state else None,
                meant_sha256=intent.model_sha256 if intent else None,
                on_trial=state.on_trial if state else False,
            )
        )
    return BoardStatus(tuple(apps), board.lock(), board.client.jobs())
