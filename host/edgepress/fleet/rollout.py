"""One thing done on many boards: some at a time, a few of them first, and no further when too many fail.

No board holds up the others: one that takes far longer than the rest no longer counts among those that are busy, so
that the next can begin; it goes on in a thread of its own until the deadlines of its connection end it.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, Literal, TypeVar

from edgepress.errors import EdgepressError, TransportError, UnreachableError

FIRST_PATIENCE_S = 30.0  # with a board, while nobody knows how long this takes
LEAST_PATIENCE_S = 5.0
PATIENCE = 3.0  # times what it took on the others, by the median

Answer = TypeVar("Answer")
Status = Literal["done", "failed", "off", "left out"]


@dataclass(frozen=True)
class Staging:
    """How to go about it.

    Attributes:
        parallel: boards that are busy at a time.
        canaries: boards that have to succeed before any other is begun; those that are off do not count.
        max_failures: when more boards have failed, no further one is begun; None: whatever happens, all are. A board
            that could not be reached, or whose link broke, says nothing about what is done there and is not counted.
    """

    parallel: int = 8
    canaries: int = 0
    max_failures: int | None = None


@dataclass(frozen=True)
class BoardResult(Generic[Answer]):
    """What came of it on one board.

    Attributes:
        status: ``off``: nothing answered there; ``left out``: it was not begun.
        is_remembered: it was off, and is meant to catch up.
    """

    device: str
    status: Status
    answer: Answer | None = None
    error: EdgepressError | None = None
    duration_s: float = 0.0
    is_remembered: bool = False


@dataclass(frozen=True)
class Rollout(Generic[Answer]):
    """What came of it everywhere, in the order in which the boards were named.

    ``stopped``: too many boards failed, or there were too few canaries, and the rest was left out.
    """

    results: tuple[BoardResult[Answer], ...]
    stopped: bool

    def devices(self, status: Status) -> tuple[str, ...]:
        """Return the boards on which it ended so."""
        return tuple(result.device for result in self.results if result.status == status)


def roll_out(
    names: Sequence[str],
    act: Callable[[str], Answer],
    staging: Staging,
    told: Callable[[BoardResult[Answer]], object] | None = None,
) -> Rollout[Answer]:
    """Do something on each board.

    Args:
        names: of the boards, in the order in which to begin.
        act: is given a name, in a thread of its own; several run at once. With one board it runs in this thread.
        told: is given each result when it is there, in this thread.

    Raises:
        Exception: what ``act`` raised that is no :class:`EdgepressError`: a fault of the program, not of a board.
    """
    return _Course(names, act, staging, told).run()


class _Course(Generic[Answer]):
    def __init__(
        self,
        names: Sequence[str],
        act: Callable[[str], Answer],
        staging: Staging,
        told: Callable[[BoardResult[Answer]], object] | None,
    ) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._act = act
        self._staging = staging
        self._told = told
        self._waiting = deque(self._names)
        self._begun: dict[str, float] = {}  # boards that are busy, and since when (time.monotonic)
        self._results: dict[str, BoardResult[Answer]] = {}
        self._ended: SimpleQueue[BoardResult[Answer] | BaseException] = SimpleQueue()

    def run(self) -> Rollout[Answer]:
        while True:
            while self._waiting and self._may_begin():
                self._begin(self._waiting.popleft())
            if not self._begun:
                break
            try:
                ended = self._ended.get(timeout=self._seconds_until_overdue())
            except Empty:
                continue  # somebody has become overdue: another may begin
            if isinstance(ended, BaseException):
                raise ended
            del self._begun[ended.device]
            self._results[ended.device] = ended
            if self._told is not None:
                self._told(ended)
        left_out = {name: BoardResult[Answer](name, "left out") for name in self._waiting}
        results = {**self._results, **left_out}
        return Rollout(tuple(results[name] for name in self._names), stopped=bool(left_out))

    def _may_begin(self) -> bool:
        failures = sum(
            result.status == "failed" and not isinstance(result.error, TransportError)
            for result in self._results.values()
        )
        if self._staging.max_failures is not None and failures > self._staging.max_failures:
            return False
        busy = sum(remaining > 0 for remaining in self._patience_left())
        missing = self._staging.canaries - sum(result.status == "done" for result in self._results.values())
        return busy < (min(missing, self._staging.parallel) if missing > 0 else self._staging.parallel)

    def _begin(self, name: str) -> None:
        self._begun[name] = time.monotonic()
        if len(self._names) == 1:
            self._work(name)  # where Ctrl-C arrives, and a job can be cancelled for it
        else:
            Thread(target=self._work, args=(name,), name=f"edgepress-{name}", daemon=True).start()

    def _work(self, name: str) -> None:
        begun = time.monotonic()
        try:
            answer = self._act(name)
        except EdgepressError as error:
            status: Status = "off" if isinstance(error, UnreachableError) else "failed"
            self._ended.put(BoardResult(name, status, error=error, duration_s=time.monotonic() - begun))
        except BaseException as error:
            self._ended.put(error)
        else:
            self._ended.put(BoardResult(name, "done", answer, duration_s=time.monotonic() - begun))

    def _patience_left(self) -> list[float]:
        """How many seconds each busy board still counts as busy; negative for one that is overdue."""
        took = [result.duration_s for result in self._results.values() if result.status == "done"]
        patience = max(LEAST_PATIENCE_S, PATIENCE * statistics.median(took)) if took else FIRST_PATIENCE_S
        now = time.monotonic()
        return [begun + patience - now for begun in self._begun.values()]

    def _seconds_until_overdue(self) -> float | None:
        remaining = [left for left in self._patience_left() if left > 0]
        return min(remaining) if remaining and self._waiting else None
