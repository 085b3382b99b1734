"""One thing done on each of several devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress import confirmation
from edgepress.benchmarking import session
from edgepress.benchmarking.comparison import LEAST_ROUNDS
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way
from edgepress.compression.steps import Judge
from edgepress.confirmation import Candidate, Failed, Trial
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.profiles import load_profile
from edgepress.errors import DeviceError, InputError
from edgepress.pending import PendingJobs

if TYPE_CHECKING:
    from edgepress.progress import Progress
    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore
    from edgepress_agent.protocol.messages import BenchmarkPlan, RunReport
    from edgepress_converters.model import TFLiteModel


@dataclass(frozen=True)
class Terms:
    """How devices are to measure: every model in every combination of these.

    ``runtimes`` are ``NAME`` or ``NAME==VERSION``; None: each device's choice. ``delegates``: "default" and "none".
    """

    plan: BenchmarkPlan
    threads: tuple[int, ...] = (1,)
    runtimes: tuple[str | None, ...] = (None,)
    delegates: tuple[str, ...] = ("default",)

    @classmethod
    def of(
        cls,
        plan: str,
        threads: int | Sequence[int] = 1,
        runtime: str | Sequence[str] | None = None,
        delegate: str | Sequence[str] = "default",
    ) -> Terms:
        """Return the terms that users name: one of each, or several.

        Raises:
            InputError: there is no such plan, or threads or delegates are none.
        """
        if plan not in PLANS:
            raise InputError(f"there is no plan {plan!r}; there are {', '.join(PLANS)}")
        terms = cls(
            PLANS[plan],
            (threads,) if isinstance(threads, int) else tuple(threads),
            (runtime,) if runtime is None or isinstance(runtime, str) else tuple(runtime) or (None,),
            (delegate,) if isinstance(delegate, str) else tuple(delegate),
        )
        for named, what in ((terms.threads, "number of threads"), (terms.delegates, "delegate")):
            if not named:
                raise InputError(f"no {what} is named")
        return terms

    def ways(self, board: Device) -> tuple[Way, ...]:
        """The combinations on one device.

        Raises:
            ProvisioningError: it does not have one of the runtimes.
        """
        runtimes = [board.runtime(wanted) for wanted in self.runtimes]
        each = product(runtimes, self.threads, self.delegates)
        return tuple(dict.fromkeys(Way(*way) for way in each))


@dataclass(frozen=True)
class Outcome:
    """What a run gave: rows, which are in the table too, and what failed without stopping the rest."""

    rows: tuple[Result, ...]
    failures: tuple[Failed, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON document of ``--json``."""
        return {
            "schema": 1,
            "rows": [row.as_row() for row in self.rows],
            "failures": [
                {
                    "device": f.device,
                    "candidate": f.candidate,
                    "type": type(f.error).__name__,
                    "message": str(f.error),
                }
                for f in self.failures
            ],
        }


def reach(devices: str | Sequence[str], terms: Terms, progress: Progress) -> list[str]:
    """Resolve a name or group, or several; find out before long work whether each device answers and has the runtime.

    Raises:
        InputError: no device is named. UnknownDeviceError, TransportError, ProvisioningError: a device is not there, or
            not ready.
    """
    if not devices:
        raise InputError("no device is named")
    named = [devices] if isinstance(devices, str) else devices
    names = [config.name for config in Inventory.load().resolve(named)]
    with progress.task("reaching devices", len(names)) as task:
        for done, name in enumerate(names):
            task.update(done, message=name)
            with Device.open(name) as board:
                terms.ways(board)
    return names


def measure(
    names: Sequence[str],
    candidates: Sequence[Candidate],
    trial: Trial | None,
    terms: Terms,
    store: ResultStore,
    pending: Path,
    progress: Progress,
) -> Outcome:
    """Have every device confirm the candidates. A device that fails does not take the others' rows away.

    Args:
        pending: folder for what this machine must know of jobs that are under way.

    Raises:
        EdgepressError: nothing gave a row; the first failure's error.
    """
    rows: list[Result] = []
    failures: list[Failed] = []
    for name in names:
        try:
            with Device.open(name) as board:
                confirmed, failed = confirmation.confirm(
                    board,
                    candidates,
                    terms.plan,
                    store,
                    trial=trial,
                    ways=terms.ways(board),
                    pending=PendingJobs(pending / name),
                    progress=progress,
                )
        except DeviceError as error:
            confirmed, failed = (), (Failed(name, "all", error),)
        rows.extend(confirmed)
        failures.extend(failed)
    if not rows and failures:
        raise failures[0].error
    return Outcome(tuple(rows), tuple(failures))


@contextmanager
def judge_on(name: str, terms: Terms, progress: Progress) -> Iterator[Judge]:
    """Give a judge that measures files on a device; the connection is made when it is first asked.

    It takes ten rounds at least, since it is asked which file is the faster one.
    """
    opened: list[Device] = []
    plan = replace(terms.plan, processes=max(terms.plan.processes, LEAST_ROUNDS))

    def timed(models: Sequence[TFLiteModel]) -> tuple[RunReport, ...]:
        if not opened:
            opened.append(Device.open(name))
        board = opened[0]
        if board.facts.emulated:
            raise DeviceError(f"{name} is emulated, and its times say nothing about real hardware", name)
        way = terms.ways(board)[0]
        report = session.measure_setups(board, [(model, way) for model in models], plan, progress=progress)
        session.acknowledge(board, report)
        return report.runs

    try:
        yield Judge(name, timed, _channel_multiple(name))
    finally:
        for board in opened:
            board.close()


def _channel_multiple(name: str) -> Callable[[str], int | None]:
    """What the profile of a device's kind says."""
    profile = Inventory.load().device(name).profile
    return load_profile(profile).channel_multiple if profile else lambda _: None
