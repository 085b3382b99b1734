"""Secrets that only a person can give: passphrases and passwords.

The library asks nobody by itself: a program with a person in front of it says how to ask. An answer is kept in this
process's memory, so that reaching a device twice asks once; it is written nowhere and stands in no message.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

Asker = Callable[[str], str]
ATTEMPTS = 3  # as OpenSSH's NumberOfPasswordPrompts


class Secrets:
    """What a person was asked and has answered. One question at a time, whichever thread asks."""

    def __init__(self) -> None:
        self._asker: Asker | None = None
        self._answers: dict[str, str] = {}
        self._lock = Lock()

    def ask_with(self, asker: Asker | None) -> None:
        """Name the function that shows a question and returns the answer; None: nobody is there."""
        self._asker = asker

    @property
    def can_ask(self) -> bool:
        """Whether there is somebody to ask."""
        return self._asker is not None

    def get(self, question: str) -> str | None:
        """Return the answer to a question; None when nobody is there. Asks only what has not been answered before."""
        with self._lock:
            if question not in self._answers:
                if self._asker is None:
                    return None
                self._answers[question] = self._asker(question)
            return self._answers[question]

    def forget(self, question: str, answer: str) -> None:
        """Forget an answer that was wrong, unless another one has been given since."""
        with self._lock:
            if self._answers.get(question) == answer:
                del self._answers[question]


SECRETS = Secrets()  # this process's person
