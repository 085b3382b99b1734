"""Who is asked for a secret, and how often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from edgepress.transport.secrets import Secrets


def test_nobody_is_asked_until_a_program_says_how() -> None:
    secrets = Secrets()
    assert not secrets.can_ask
    assert secrets.get("password of pi@pi4") is None


def test_boards_that_are_reached_at_once_ask_once() -> None:
    secrets, heard = Secrets(), []
    secrets.ask_with(lambda question: heard.append(question) or "s")  # type: ignore[func-returns-value]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(secrets.get, ["passphrase of key"] * 20))
    assert answers == ["s"] * 20
    assert heard == ["passphrase of key"]


def test_an_answer_that_was_wrong_is_asked_for_again_unless_a_newer_one_is_there() -> None:
    secrets, answers = Secrets(), iter(["wrong", "right"])
    secrets.ask_with(lambda question: next(answers))
    assert secrets.get("q") == "wrong"
    secrets.forget("q", "wrong")
    assert secrets.get("q") == "right"
    secrets.forget("q", "wrong")  # another thread had been given the first answer, too
    assert secrets.get("q") == "right"
