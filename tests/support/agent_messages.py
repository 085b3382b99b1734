"""Hypothesis strategies for the protocol's messages, and for JSON that is nearly one of them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from edgepress_agent.protocol import messages
from edgepress_agent.protocol.codec import to_wire

MESSAGES: tuple[type, ...] = tuple(
    value
    for value in vars(messages).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value) and not value.__name__.startswith("_")
)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@functools.cache
def instances(cls: type) -> st.SearchStrategy[Any]:
    """Return a strategy for valid instances of a message."""
    hints = get_type_hints(cls)
    return st.builds(cls, **{field.name: _values(hints[field.name]) for field in dataclasses.fields(cls)})


def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union:
        return st.none() | _values(arguments[0])
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(texts, json_values, max_size=2)
    if dataclasses.is_dataclass(hint):
        return instances(hint)
    return {
        str: texts,
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }[hint]


@st.composite
def nearly(draw: st.DrawFn, cls: type) -> Any:
    """Return the JSON values of a message, with at most one thing changed somewhere in it."""
    value = to_wire(draw(instances(cls)))
    return _changed(draw, value) if draw(st.booleans()) else value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        change = draw(st.sampled_from(("inside", "inside", "missing", "unknown")))
        if change == "missing":
            return {name: inner for name, inner in value.items() if name != key}
        if change == "unknown":
            return {**value, key + "x": None}
        return {**value, key: _changed(draw, value[key])}
    if isinstance(value, (list, tuple)) and value and draw(st.booleans()):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _changed(draw, value[index]), *value[index + 1 :]]
    return draw(json_values)
