"""In which order boards are begun, and when no more are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from edgepress.errors import AgentError, ChangedHostKeyError, DeploymentError, LinkLostError, UnreachableError
from edgepress.fleet import rollout
from edgepress.fleet.rollout import BoardResult, Rollout, Staging, roll_out

NAMES = [f"b{number}" for number in range(6)]


class Boards:
    """Boards that are busy until they are told to end, and how."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[str, Exception | None] = {}
        self.begun: list[str] = []
        self.busy = 0
        self.most_busy = 0

    def act(self, name: str) -> str:
        with self._changed:
            self.begun.append(name)
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: name in self._ends, timeout=20)
            self.busy -= 1
            error = self._ends[name]
        if error is not None:
            raise error
        return name.upper()

    def end(self, *names: str, error: Exception | None = None) -> None:
        with self._changed:
            self._ends.update(dict.fromkeys(names, error))
            self._changed.notify_all()

    def wait_until_begun(self, *names: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: set(names) <= set(self.begun), timeout=20), self.begun


@pytest.fixture
def boards() -> Iterator[Boards]:
    boards = Boards()
    yield boards
    boards.end(*NAMES)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def start(pool: ThreadPoolExecutor, boards: Boards, staging: Staging) -> Future[Rollout[str]]:
    return pool.submit(roll_out, NAMES, boards.act, staging)


def fails(**errors: Exception) -> Rollout[str]:
    """Roll out one by one over boards of which these fail."""

    def act(name: str) -> str:
        if name in errors:
            raise errors[name]
        return name

    return roll_out(NAMES, act, Staging(parallel=1, canaries=1, max_failures=0))


def test_every_board_has_a_result_in_the_order_in_which_it_was_named() -> None:
    told: list[BoardResult[str]] = []
    done = roll_out([*NAMES, "b0"], str.upper, Staging(parallel=3), told.append)
    assert [(result.device, result.status, result.answer) for result in done.results] == [
        (name, "done", name.upper()) for name in NAMES
    ]
    assert {result.device for result in told} == set(NAMES)
    assert not done.stopped


def test_only_so_many_boards_are_busy_at_once(boards: Boards, pool: ThreadPoolExecutor) -> None:
    running = start(pool, boards, Staging(parallel=2))
    boards.wait_until_begun("b0", "b1")
    boards.end(*NAMES)
    assert len(running.result(20).devices("done")) == 6
    assert boards.most_busy == 2


def test_nothing_is_begun_before_the_canary_has_succeeded(boards: Boards, pool: ThreadPoolExecutor) -> None:
    running = start(pool, boards, Staging(parallel=8, canaries=1, max_failures=0))
    boards.wait_until_begun("b0")
    assert boards.begun == ["b0"]
    boards.end("b0")
    boards.wait_until_begun(*NAMES)
    boards.end(*NAMES)
    assert running.result(20).devices("done") == tuple(NAMES)


def test_a_canary_that_fails_stops_everything() -> None:
    done = fails(b0=DeploymentError("wrong outputs"))
    assert done.stopped
    assert (done.devices("failed"), done.devices("left out")) == (("b0",), tuple(NAMES[1:]))


def test_a_canary_that_is_off_is_replaced_by_the_next_board(boards: Boards, pool: ThreadPoolExecutor) -> None:
    running = start(pool, boards, Staging(parallel=8, canaries=1, max_failures=0))
    boards.end("b0", error=UnreachableError("off"))
    boards.wait_until_begun("b1")
    assert boards.begun == ["b0", "b1"]
    boards.end(*NAMES[1:])
    done = running.result(20)
    assert (done.devices("off"), done.devices("done")) == (("b0",), tuple(NAMES[1:]))


def test_more_failures_than_allowed_stop_the_rest() -> None:
    def act(name: str) -> str:
        if name in ("b1", "b3"):
            raise AgentError("no")
        return name

    done = roll_out(NAMES, act, Staging(parallel=1, canaries=1, max_failures=1))
    assert (done.devices("failed"), done.devices("left out")) == (("b1", "b3"), ("b4", "b5"))
    assert done.stopped


@pytest.mark.parametrize(
    "error",
    [UnreachableError("off"), ChangedHostKeyError("another"), LinkLostError("cut")],
    ids=lambda e: type(e).__name__,
)
def test_a_board_that_cannot_be_reached_says_nothing_about_the_release(error: Exception) -> None:
    done = fails(b1=error, b2=error)
    assert not done.stopped
    assert done.devices("done") == ("b0", "b3", "b4", "b5")


def test_a_board_that_hangs_gives_its_place_to_the_next(
    boards: Boards, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "FIRST_PATIENCE_S", 0.1)
    running = start(pool, boards, Staging(parallel=1))
    boards.end(*NAMES[1:])
    boards.wait_until_begun(*NAMES)  # although the first has not ended
    boards.end("b0", error=LinkLostError("no answer in time"))
    done = running.result(20)
    assert (done.devices("failed"), len(done.devices("done"))) == (("b0",), 5)


def test_a_fault_of_the_program_is_no_boards_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        roll_out(NAMES, lambda name: 1 / 0, Staging())


def test_a_single_board_is_dealt_with_where_an_interrupt_arrives() -> None:
    seen: list[threading.Thread] = []
    roll_out(["b0"], lambda name: seen.append(threading.current_thread()), Staging(canaries=1))
    assert seen == [threading.current_thread()]
