"""Deploying to many boards and going back on many, and remembering what each is meant to use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from edgepress import deploying
from edgepress.deployment import releases
from edgepress.devices.device import Device
from edgepress.errors import AgentError, DeploymentError
from edgepress.fleet.intents import Intent, Intents
from edgepress.fleet.rollout import Answer, BoardResult, Rollout, Staging, roll_out

if TYPE_CHECKING:
    from edgepress.deploying import Parcel
    from edgepress.devices.inventory import Inventory
    from edgepress.progress import Progress
    from edgepress_agent.protocol.messages import HealthCheck, ReleaseState


def deploy(
    parcel: Parcel,
    names: Sequence[str],
    staging: Staging,
    inventory: Inventory,
    *,
    runtime: str | None = None,
    health: HealthCheck | None = None,
    progress: Progress | None = None,
) -> Rollout[ReleaseState]:
    """Bring a parcel to boards, in stages. See :func:`edgepress.deploying.deliver` for what happens on each.

    Boards that are off are meant to use it too where it was done on others and the rollout was not stopped:
    :func:`catch_up` brings it to them.
    """
    intents = Intents(inventory)

    def act(name: str) -> ReleaseState:
        with Device.open(name, inventory) as board:
            return deploying.deliver(parcel, board, runtime=runtime, health=health, progress=progress)

    def remember(device: str) -> bool:
        intents.deployed(device, parcel.app, parcel.model.sha256, parcel.model.path, runtime, health)
        return True

    def told(result: BoardResult[ReleaseState]) -> None:
        if result.status == "done":
            remember(result.device)

    return _with_those_off(roll_out(names, act, staging, told), remember)


def rollback(
    app: str,
    names: Sequence[str],
    staging: Staging,
    inventory: Inventory,
    *,
    release: str | None = None,
    restart_unit: str | None = None,
) -> Rollout[ReleaseState]:
    """Let an application of boards use an earlier release again.

    A board that is off while others go back is meant to use what was meant before, where that is known:
    :func:`catch_up` brings it there.
    """
    intents = Intents(inventory)

    def act(name: str) -> ReleaseState:
        with Device.open(name, inventory) as board:
            return releases.rollback(board, app, release, restart_unit)

    def told(result: BoardResult[ReleaseState]) -> None:
        if result.answer is not None:
            intents.rolled_back(result.device, app, model_in_use(result.answer))

    rollout = roll_out(names, act, staging, told)
    return rollout if release is not None else _with_those_off(rollout, lambda name: intents.rolled_back(name, app))


def undeploy(app: str, names: Sequence[str], inventory: Inventory) -> Rollout[str]:
    """Take an application from boards. Those that are off are no longer meant to have it either.

    A board that is meant to have it and does not is done.
    """
    intents = Intents(inventory)

    def act(name: str) -> str:
        with Device.open(name, inventory) as board:
            try:
                board.client.undeploy(app)
            except AgentError as error:
                if error.code != "not-found" or app not in intents.of(name):
                    raise
        return app

    rollout = roll_out(names, act, Staging())
    for name in (*rollout.devices("done"), *rollout.devices("off")):
        intents.forget(name, app)
    return rollout


def catch_up(
    names: Sequence[str], staging: Staging, inventory: Inventory, progress: Progress | None = None
) -> Rollout[tuple[ReleaseState, ...]]:
    """Bring boards to what they are meant to use: those that were off, and those where somebody did something else.

    Returns:
        for each board the applications that were changed: none when it was as it is meant to be.
    """
    intents = Intents(inventory)
    parcels = _Parcels(intents)

    def act(name: str) -> tuple[ReleaseState, ...]:
        wanted = intents.of(name)
        if not wanted:
            return ()
        with Device.open(name, inventory) as board:
            states = {state.app: state for state in board.client.releases()}
            changed = []
            for app, intent in wanted.items():
                state = states.get(app)
                if state is not None and model_in_use(state) == intent.model_sha256:
                    continue
                changed.append(_bring(board, app, intent, state, parcels, progress))
            return tuple(changed)

    return roll_out(names, act, staging)


def model_in_use(state: ReleaseState) -> str | None:
    """Return the hash of the model that an application uses."""
    return next((one.model_sha256 for one in state.releases if one.release == state.current), None)


def _with_those_off(rollout: Rollout[Answer], remember: Callable[[str], bool]) -> Rollout[Answer]:
    """Remember what was done for the boards that were off meanwhile; ``remember`` says whether it could."""
    if rollout.stopped or not rollout.devices("done"):
        return rollout
    results = [replace(one, is_remembered=one.status == "off" and remember(one.device)) for one in rollout.results]
    return replace(rollout, results=tuple(results))


def _bring(
    board: Device,
    app: str,
    intent: Intent,
    state: ReleaseState | None,
    parcels: _Parcels,
    progress: Progress | None,
) -> ReleaseState:
    kept = [one.release for one in state.releases if one.model_sha256 == intent.model_sha256] if state else []
    if kept:  # it is there and was checked there
        unit = intent.health.restart_unit if intent.health else None
        return releases.rollback(board, app, kept[-1], unit)
    parcel = parcels.open(board.name, app, intent)
    return deploying.deliver(parcel, board, runtime=intent.runtime, health=intent.health, progress=progress)


class _Parcels:
    """Files made ready when the first board needs them, once for all boards."""

    def __init__(self, intents: Intents) -> None:
        self._intents = intents
        self._packed: dict[tuple[str, str], Parcel] = {}
        self._lock = Lock()

    def open(self, device: str, app: str, intent: Intent) -> Parcel:
        key = app, intent.model_sha256
        with self._lock:
            if key not in self._packed:
                self._packed[key] = self._pack(device, app, intent)
            return self._packed[key]

    def _pack(self, device: str, app: str, intent: Intent) -> Parcel:
        wanted = f"{device} is meant to use model {intent.model_sha256[:12]} as {app}"
        file = self._intents.file_of(intent)
        if file is None:
            raise DeploymentError(
                f"{wanted}, which neither the board has nor anybody has said where this machine has it: deploy it anew",
                device,
            )
        parcel = deploying.pack(file, app)
        if parcel.model.sha256 != intent.model_sha256:
            raise DeploymentError(
                f"{wanted}, but {file} is model {parcel.model.sha256[:12]} now: `edgepress deploy {file} --device "
                f"{device} --app {app}` makes that one the intent",
                device,
            )
        return parcel
