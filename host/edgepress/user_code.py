"""Modules of the user's own: custom layers (``--import``) and data functions (``module:function``)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from edgepress.errors import InputError


def import_user_module(name: str, error: type[InputError], what_for: str) -> ModuleType:
    """Import a module by its dotted name, the working directory included in the search.

    Raises:
        InputError: of the class ``error``: there is no such module, or importing it failed.
    """
    with _working_directory_on_path():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if missing.name is None or not (name == missing.name or name.startswith(f"{missing.name}.")):
                raise error(
                    f"module {name!r} ({what_for}) imports {missing.name!r}, which is not installed"
                ) from missing
            raise error(
                f"there is no module {name!r} ({what_for}): give a dotted name that Python can import "
                f"from {Path.cwd()} or its environment, without .py"
            ) from missing
        except Exception as failure:
            raise error(f"module {name!r} ({what_for}) failed when it was imported: {failure!r}") from failure


@contextmanager
def _working_directory_on_path() -> Iterator[None]:
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
