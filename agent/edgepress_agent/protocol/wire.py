"""The base of all messages."""

from __future__ import annotations

from typing import Any, ClassVar, Dict


class Wire:
    """Base of all messages. pydantic, where the host has it, reads this configuration from the class body."""

    __pydantic_config__: ClassVar[Dict[str, Any]] = {
        "strict": True,
        "extra": "forbid",
        "allow_inf_nan": False,
    }
