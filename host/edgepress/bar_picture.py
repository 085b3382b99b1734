"""What pictures of a model's parts have in common, by matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepress.errors import MissingPackageError, ModelError
from edgepress.table.inert import printable

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
GREY = "#6b7280"


@contextmanager
def bar_picture(file: Path, title: str, height_inches: float) -> Iterator[Any]:
    """Give axes to draw on, and write them with their legend to ``file`` at the end.

    Raises:
        MissingPackageError: without the extra ``edgepress[report]``.
        ModelError: the file cannot be written, or its ending says no kind of picture.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: nothing global, no display
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"a picture needs {error.name}; install it with: pip install 'edgepress[report]'"
        ) from error
    figure = Figure(figsize=(7.0, height_inches), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set_title(printable(title), fontsize=9, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    axes.legend(frameon=False, fontsize=8)
    try:
        figure.savefig(file, dpi=200)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be drawn: {error}") from error
