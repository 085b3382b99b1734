"""Layers that a user leaves alone, by patterns of their names (``*`` and ``?``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch

from edgepress.errors import CompressionError


def check_patterns(keep: Sequence[str], names: Iterable[str]) -> None:
    """Refuse a pattern that means no layer, since it is a mistake.

    Raises:
        CompressionError: it lists the layers.
    """
    known = tuple(names)
    for pattern in keep:
        if not any(fnmatch(name, pattern) for name in known):
            raise CompressionError(f"keep: no layer is named {pattern!r}; the model's layers are {', '.join(known)}")


def first_kept(keep: Sequence[str], names: Iterable[str]) -> str | None:
    """Return the first of ``names`` that a pattern means, or None."""
    return next((name for name in names if any(fnmatch(name, pattern) for pattern in keep)), None)
