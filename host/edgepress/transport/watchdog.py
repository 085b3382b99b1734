"""A second pair of eyes on waits that cannot be trusted to end by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread


class Watchdog:
    """Calls ``bark`` once, from a thread of its own, when a guarded wait passes its deadline.

    paramiko's channel timeouts do not cover a send that the network does not take (paramiko issue 1380): only closing
    the connection under it ends such a wait.
    """

    def __init__(self, bark: Callable[[], None]) -> None:
        self._bark = bark
        self._condition = Condition()
        self._deadlines: list[float] = []
        self._closed = False
        self.barked = False
        Thread(target=self._watch, name="edgepress-watchdog", daemon=True).start()

    @contextmanager
    def guard(self, deadline: float) -> Iterator[None]:
        """Guard the body of a ``with`` until ``deadline`` (``time.monotonic()``)."""
        with self._condition:
            if not self._deadlines or deadline < min(self._deadlines):
                self._condition.notify()
            self._deadlines.append(deadline)
        try:
            yield
        finally:
            with self._condition:
                self._deadlines.remove(deadline)

    def close(self) -> None:
        """End the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _watch(self) -> None:
        with self._condition:
            while not self._closed:
                remaining_s = min(self._deadlines) - time.monotonic() if self._deadlines else None
                if remaining_s is not None and remaining_s <= 0:
                    self.barked = True
                    break
                self._condition.wait(remaining_s)
        if self.barked:
            self._bark()
