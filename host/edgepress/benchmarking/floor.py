"""How much two sessions differ on one board when nothing has changed."""

from __future__ import annotations

from edgepress.benchmarking.calibration import load_calibration

DEFAULT_FLOOR = 0.05
"""MLPerf Mobile 4.0 asks for results within 5 % in 5 tries: what a board is trusted with before it is calibrated."""


def noise_floor(device: str) -> float:
    """Return by how much (a fraction) medians of two sessions may differ on a device without meaning anything: what
    `edgepress device calibrate` found there, else :data:`DEFAULT_FLOOR`."""
    calibration = load_calibration(device)
    return DEFAULT_FLOOR if calibration is None else calibration.between
