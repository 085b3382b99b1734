"""Deriving stored rows again from their raw samples: a row says what its evidence says, bit for bit, or it is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepress.errors import TableError
from edgepress.table.recording import CHANGED_BY, RULES, derive
from edgepress.table.result import COLUMNS, Result
from edgepress_agent.protocol.messages import MeasurementWarning

if TYPE_CHECKING:
    from edgepress.table.store import ResultStore


@dataclass(frozen=True)
class Change:
    """A field that is not what the evidence makes of it."""

    field: str
    stored: Any
    derived: Any


@dataclass(frozen=True)
class Verified:
    """What was found of one row.

    Attributes:
        changes: empty: it is what its samples say.
        unknown: why it could not be derived: measured by another tool, recorded before evidence was complete, or made
            by rules that say something else of the same evidence.
        damage: why its evidence cannot be read, or is not there.
    """

    row: Result
    changes: tuple[Change, ...] = ()
    unknown: str | None = None
    damage: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing speaks against the row."""
        return not self.changes and self.damage is None


def verify(store: ResultStore) -> Iterator[Verified]:
    """Derive every row of a table again, oldest first, one at a time: not all samples need fit into memory."""
    for row in store.rows():
        yield verify_row(store, row)


def verify_row(store: ResultStore, row: Result) -> Verified:
    """Derive one row again and compare every field."""
    if row.is_foreign:
        return Verified(row, unknown=f"measured by {row.origin}: it has no samples")
    try:
        evidence = store.evidence(row.id)
    except TableError as error:
        return Verified(row, damage=str(error))
    if evidence.provenance is None:
        return Verified(row, unknown="recorded before rows kept all that they are derived from")
    try:
        derived = derive(evidence)
    except (TableError, ValueError, TypeError, KeyError) as error:  # samples or subject that no measurement leaves
        return Verified(row, damage=f"its evidence makes no row: {error}")
    fields = (*COLUMNS, "warnings")
    pairs = ((name, getattr(row, name), getattr(derived, name)) for name in fields)
    changes = tuple(Change(name, old, new) for name, old, new in pairs if _plain(old) != _plain(new))
    return _by_rules(row, changes, evidence.provenance.rules)


def _by_rules(row: Result, changes: tuple[Change, ...], rules: int) -> Verified:
    """Hold nothing against a row that other rules than today's may have made of its evidence."""
    if changes and rules > RULES:
        return Verified(row, unknown="derived by the rules of a newer edgepress: upgrade this one")
    changed_since = frozenset().union(*(fields for number, fields in CHANGED_BY.items() if number > rules))
    firm = tuple(change for change in changes if change.field not in changed_since)
    if firm or not changes:
        return Verified(row, firm)
    names = ", ".join(change.field for change in changes)
    return Verified(row, unknown=f"derived by older rules, which say something else of {names}")


def _plain(value: Any) -> Any:
    """A value as the database gives it back: warnings through JSON, which knows no tuples."""
    if isinstance(value, MeasurementWarning):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (tuple, list)) else value
