"""A picture of where a model loses in int8."""

from __future__ import annotations

from pathlib import Path

from edgepress.bar_picture import COLOURS, GREY, bar_picture
from edgepress.compression.quantization.diagnosis import HARMFUL, Diagnosis
from edgepress.table.inert import printable

_LOCAL, _GUILTY = COLOURS[0], COLOURS[-1]
_NAMES = 40
_SMALLEST = 1e-4


def draw_errors(diagnosis: Diagnosis, model: str, file: Path) -> None:
    """Draw the local error of each layer as a bar, in the order of the graph, and the cumulative one as a line.

    Raises:
        MissingPackageError, ModelError: as :func:`edgepress.bar_picture.bar_picture`.
    """
    layers = diagnosis.layers
    with bar_picture(file, model, height_inches=3.6) as axes:
        axes.bar(
            range(len(layers)),
            [max(one.local, _SMALLEST) for one in layers],
            color=[_GUILTY if one.cause is not None else _LOCAL for one in layers],
            label="local (orange: with a known cause)",
        )
        axes.plot([max(one.cumulative, _SMALLEST) for one in layers], color=GREY, linewidth=1, label="cumulative")
        axes.axhline(HARMFUL, color=GREY, linewidth=0.6, linestyle=":")
        axes.set_yscale("log")
        axes.set_ylabel("error in int8, of the output's RMS")
        if len(layers) <= _NAMES:
            axes.set_xticks(range(len(layers)), [printable(one.layer) for one in layers], rotation=90, fontsize=6)
        else:
            axes.set_xlabel("layer, in the order of the graph")
