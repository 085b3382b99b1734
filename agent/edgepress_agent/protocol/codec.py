"""Strict conversion between the messages and JSON values, with the standard library alone.

The agent reads requests with it. The host reads answers with pydantic over the same classes; a test feeds both the
same values and holds them to the same verdict.
"""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from typing import Any, Dict, List, Tuple, Type, TypeVar, Union, get_args, get_origin, get_type_hints

Message = TypeVar("Message")


class WireError(ValueError):
    """A message does not have the form that the protocol gives it. Says which field and what was got."""


def to_wire(message: Any) -> Dict[str, Any]:
    """Return a message as a dictionary of JSON values (tuples become lists)."""
    if not dataclasses.is_dataclass(message) or isinstance(message, type):
        raise TypeError(f"to_wire takes a message, got {type(message).__name__}")
    return dataclasses.asdict(message)


def from_wire(cls: Type[Message], value: Any, path: str = "") -> Message:
    """Build a message of type ``cls`` from JSON values.

    Raises:
        WireError: an unknown or missing key, or a value of another type (no conversions, no NaN or infinity).
    """
    where = path or cls.__name__
    if not isinstance(value, dict):
        raise WireError(f"{where}: expected an object, got {_kind(value)}")
    hints = _hints(cls)  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise WireError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(hints))}")
    arguments = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in value:
            arguments[field.name] = _decode(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise WireError(f"{where}: key {field.name!r} is missing")
    return cls(**arguments)


def loads(text: Union[str, bytes]) -> Any:
    """Parse JSON, refusing duplicate keys, NaN, infinities (``1e999`` is one) and halves of surrogate pairs.

    Raises:
        WireError: the text is not such JSON.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_int64
        )
        if (b"\\u" if isinstance(text, bytes) else "\\u") in text:  # type: ignore[operator]
            json.dumps(value, ensure_ascii=False).encode()  # half a pair is no character, and others would refuse it
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    return value


def dumps(value: Any) -> bytes:
    """Serialize JSON values compactly; NaN and infinities are refused with ValueError."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


@lru_cache(maxsize=None)
def _hints(cls: Any) -> Dict[str, Any]:
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: hint for name, hint in get_type_hints(cls).items() if name in names}


@lru_cache(maxsize=None)
def _form(hint: Any) -> Tuple[Any, Tuple[Any, ...], bool]:
    return get_origin(hint), get_args(hint), dataclasses.is_dataclass(hint)


def _decode(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    origin, arguments, is_message = _form(hint)
    if origin is Union:  # Optional[X]
        if value is None:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise WireError(f"{where}: expected an array, got {_kind(value)}")
        if arguments[0] is int and all(type(item) is int for item in value):
            return tuple(value)  # samples: there are many
        return tuple(_decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise WireError(f"{where}: expected an object, got {_kind(value)}")
        return value
    if is_message:
        return from_wire(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return _finite(value)
    if type(value) is not hint:
        raise WireError(f"{where}: expected {hint.__name__}, got {_kind(value)}")
    if hint is float and not math.isfinite(value):
        raise WireError(f"{where}: must be finite, got {value}")
    return value


def _finite(number: Union[str, int]) -> float:
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise WireError(f"a number of {len(str(number))} digits is too large for a float")
    return value


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set()
        duplicate = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise WireError(f"key {duplicate!r} stands twice in one object")
    return result


def _int64(text: str) -> int:
    value = int(text)
    if not -(1 << 63) <= value < 1 << 63:  # no clock gives such a number, and no database and no array takes it
        raise WireError(f"{text[:30]} is no integer of 64 bits")
    return value


def _refuse_constant(name: str) -> Any:
    raise WireError(f"{name} is not a value of this protocol")


def _kind(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
