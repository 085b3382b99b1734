"""Waits that do not end by themselves."""

from __future__ import annotations

import time
from threading import Event

from edgepress.transport.watchdog import Watchdog


def test_it_barks_when_a_wait_passes_its_deadline() -> None:
    barked = Event()
    watchdog = Watchdog(barked.set)
    with watchdog.guard(time.monotonic() + 0.05):
        assert barked.wait(10)
    assert watchdog.barked


def test_the_earliest_of_several_deadlines_counts() -> None:
    barked = Event()
    watchdog = Watchdog(barked.set)
    with watchdog.guard(time.monotonic() + 3600), watchdog.guard(time.monotonic() + 0.05):
        assert barked.wait(10)


def test_a_wait_that_ended_in_time_is_left_alone() -> None:
    barked, control = Event(), Event()
    watchdog, other = Watchdog(barked.set), Watchdog(control.set)
    deadline = time.monotonic() + 0.05
    with watchdog.guard(deadline):
        pass
    with other.guard(deadline):  # by when this one barks, the first would have
        assert control.wait(10)
    assert not watchdog.barked
    watchdog.close()
