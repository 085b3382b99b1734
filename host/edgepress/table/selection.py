"""Words that choose stored rows: ``recipe:int8``, ``device:pi4,commit:1a2b3c4``, a row's id, ``newest``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.errors import TableError

if TYPE_CHECKING:
    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore

MOST_ROWS = 2000  # of one selection: the newest ones; a comparison is about these
_HEX = re.compile(r"[0-9a-f]{4,64}")
NEWEST = "newest"


def _number(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise TableError(f"{value!r} is no number") from None


def _model_of_release(value: str) -> dict[str, Any]:
    """A release's id ends with the beginning of its model's sha256: ``000003-3dfb4c025c7e``."""
    return {"starts": {"model_sha256": value.rpartition("-")[2]}}


def _model_of_file(value: str) -> dict[str, Any]:
    try:
        return {"equal": {"model_sha256": hashlib.sha256(Path(value).read_bytes()).hexdigest()}}
    except OSError as error:
        raise TableError(f"{value} cannot be read: {error}") from error


@dataclass(frozen=True)
class Kind:
    """A kind of word.

    Attributes:
        query: from its value to what :meth:`ResultStore.rows` takes.
        varies: fields of a row in which rows chosen by two such words may differ and still be compared.
    """

    query: Callable[[str], dict[str, Any]]
    varies: frozenset[str]


_BOARD = frozenset({"device", "physical_device", "governor", "delegate", "runtime"})
KINDS: dict[str, Kind] = {
    "recipe": Kind(lambda v: {"recipes": [v]}, frozenset({"recipe"})),
    "device": Kind(lambda v: {"devices": [v]}, _BOARD),
    "model": Kind(lambda v: {"equal": {"model": v}}, frozenset({"model"})),
    "commit": Kind(lambda v: {"starts": {"project_commit": v}}, frozenset()),
    "session": Kind(lambda v: {"starts": {"session": v}}, frozenset()),
    "id": Kind(lambda v: {"starts": {"id": v}}, frozenset({"*"})),
    "release": Kind(_model_of_release, frozenset({"model", "recipe", "training_seed"})),
    "file": Kind(_model_of_file, frozenset({"model", "recipe", "training_seed"})),
    "runtime": Kind(lambda v: {"runtime": v}, frozenset({"runtime", "delegate"})),
    "threads": Kind(lambda v: {"equal": {"threads": _number(v)}}, frozenset({"threads"})),
    "governor": Kind(lambda v: {"equal": {"governor": v}}, frozenset({"governor"})),
    "seed": Kind(lambda v: {"equal": {"training_seed": _number(v)}}, frozenset({"training_seed"})),
}
"""By the word before the colon."""

_OF_ONE_FILE = frozenset({"id", "file", "release"})
_GUESSED = ("recipe", "device", "model", "id", "session", "commit")


@dataclass(frozen=True)
class Selection:
    """Rows that a word chose, oldest first.

    Attributes:
        text: the word as it was given.
        terms: kind and value of each of its parts; a value without kind has got one.
        is_cut: there are older rows that the word would choose, too.
    """

    text: str
    terms: tuple[tuple[str, str], ...]
    rows: tuple[Result, ...]
    is_cut: bool


def select(store: ResultStore, text: str) -> Selection:
    """Choose rows by a word.

    Parts with commas between them must all hold. A part without ``KIND:`` is whatever it is the name of; ``newest``
    is the newest session.

    Raises:
        TableError: nothing is called so, several kinds of things are, or it names two things of one kind.
    """
    terms = tuple(_term(store, part.strip()) for part in text.split(",") if part.strip())
    if not terms:
        raise TableError(f"{text!r} chooses nothing; {_usage()}")
    query: dict[str, Any] = {}
    for kind, value in terms:
        if sum(kind == other for other, _ in terms) > 1:
            raise TableError(f"{text!r} has {kind}: twice, and no row is of two: all parts must hold")
        for key, part in KINDS[kind].query(value).items():
            query[key] = {**query.get(key, {}), **part} if isinstance(part, dict) else part
    rows = store.rows(**query, limit=MOST_ROWS + 1)
    if not rows:
        raise TableError(f"no row is {text}; `edgepress table` prints what there is")
    return Selection(text, terms, rows[-MOST_ROWS:], len(rows) > MOST_ROWS)


def varied(one: Selection, other: Selection) -> frozenset[str]:
    """Return the fields in which rows of two selections are meant to differ; ``*``: all of them.

    These are those of the kinds that both name, with other values. What only one of them names chooses rows, and is no
    question, unless it is the name of a file or of a row.
    """
    first, second = dict(one.terms), dict(other.terms)
    asked = (first.keys() & second.keys()) | ((first.keys() | second.keys()) & _OF_ONE_FILE)
    return frozenset().union(*(KINDS[kind].varies for kind in asked if first.get(kind) != second.get(kind)))


def _term(store: ResultStore, part: str) -> tuple[str, str]:
    kind, colon, value = part.partition(":")
    if colon and kind in KINDS:
        if not value:
            raise TableError(f"{part!r} names no {kind}; {_usage()}")
        return kind, value
    if part == NEWEST:
        newest = store.rows(limit=1)
        if not newest:
            raise TableError(f"the table {store.place} is empty")
        return "session", newest[0].session
    found = []
    for kind in _GUESSED:
        if kind in ("id", "session", "commit") and not _HEX.match(part):
            continue
        if store.rows(**KINDS[kind].query(part), limit=1):
            found.append(kind)
    if len(found) == 1:
        return found[0], part
    if not found:
        raise TableError(f"nothing in {store.place} is called {part!r}; {_usage()}")
    choices = " or ".join(f"{kind}:{part}" for kind in found)
    raise TableError(f"{part!r} is the name of a {' and of a '.join(found)}: write {choices}")


def _usage() -> str:
    words = ", ".join(f"{kind}:..." for kind in KINDS)
    return f"rows are chosen by {words} (several with commas), by a name, or by 'newest'"
