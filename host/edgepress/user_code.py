"""Modules of the user's own: custom layers (``--import``) and data functions (``module:function``)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
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
    with working_directory_on_path():
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


def source_sha256(name: str) -> str:
    """Return a sha256 of the source of the module or package that a dotted name begins with, without importing it.

    Files outside of it that it imports are not looked at. Where there is no such module, importing it will say so.
    """
    with working_directory_on_path():
        try:
            spec = importlib.util.find_spec(name.partition(".")[0])
        except ValueError:  # it is in sys.modules without saying where from
            spec = None
    files: list[Path] = []
    if spec is not None and spec.submodule_search_locations is not None:
        files = sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py"))
    elif spec is not None and spec.has_location and spec.origin is not None:
        files = [Path(spec.origin)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@contextmanager
def working_directory_on_path() -> Iterator[None]:
    """Let Python find the user's modules, last of all."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
