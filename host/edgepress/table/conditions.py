"""What must be alike before two rows may be ranked together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from edgepress.table.result import Result

CONDITIONS: dict[str, tuple[str, ...]] = {
    "device": ("physical_device", "device"),
    "runtime": ("runtime", "runtime_version", "runtime_api", "delegate"),
    "threads": ("threads",),
    "governor": ("governor",),
    "emulated": ("emulated",),
    "data": ("data_sha256", "metric"),
    "origin": ("origin",),
}
"""By the name that people use: the fields of :class:`~edgepress.table.result.Result` that are compared."""


def conditions_of(row: Result, mix: Collection[str] = ()) -> tuple[object, ...]:
    """Return what of a row must be alike in another one; ``mix`` names conditions that are to be overlooked."""
    return tuple(getattr(row, field) for name, fields in CONDITIONS.items() if name not in mix for field in fields)


def group_alike(rows: Iterable[Result], mix: Collection[str] = ()) -> list[list[Result]]:
    """Put rows measured under the same conditions together, in the order in which these first occur.

    Groups with an emulated row come last. ``mix`` names conditions that are to be overlooked.
    """
    groups: dict[tuple[object, ...], list[Result]] = {}
    for row in rows:
        groups.setdefault(conditions_of(row, mix), []).append(row)
    return sorted(groups.values(), key=lambda rows: any(row.emulated for row in rows))


def unlike(rows: Sequence[Result]) -> list[str]:
    """Return the names of the conditions in which rows differ."""
    return [
        name for name, fields in CONDITIONS.items() if len({tuple(getattr(row, f) for f in fields) for row in rows}) > 1
    ]
