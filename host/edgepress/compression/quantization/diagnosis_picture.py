"""A picture of where a model loses in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress.compression.quantization.diagnosis import HARMFUL, Diagnosis
from edgepress.errors import MissingPackageError, ModelError
from edgepress.table.inert import printable

# Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008).
_LOCAL, _GUILTY, _CUMULATIVE = "#0072b2", "#d55e00", "#6b7280"
_NAMES = 40
_SMALLEST = 1e-4


def draw_errors(diagnosis: Diagnosis, model: str, file: Path) -> None:
    """Draw the local error of each layer as a bar, in the order of the graph, and the cumulative one as a line.

    Raises:
        MissingPackageError: without the extra ``edgepress[report]``.
        ModelError: the file cannot be written, or its ending says no kind of picture.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"a picture needs {error.name}; install it with: pip install 'edgepress[report]'"
        ) from error
    layers = diagnosis.layers
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.bar(
        range(len(layers)),
        [max(one.local, _SMALLEST) for one in layers],
        color=[_GUILTY if one.cause is not None else _LOCAL for one in layers],
        label="local (orange: with a known cause)",
    )
    axes.plot([max(one.cumulative, _SMALLEST) for one in layers], color=_CUMULATIVE, linewidth=1, label="cumulative")
    axes.axhline(HARMFUL, color=_CUMULATIVE, linewidth=0.6, linestyle=":")
    axes.set_yscale("log")
    axes.set_ylabel("error in int8, of the output's RMS")
    if len(layers) <= _NAMES:
        axes.set_xticks(range(len(layers)), [printable(one.layer) for one in layers], rotation=90, fontsize=6)
    else:
        axes.set_xlabel("layer, in the order of the graph")
    axes.set_title(printable(model), fontsize=9, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    try:
        figure.savefig(file, dpi=200)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be drawn: {error}") from error
