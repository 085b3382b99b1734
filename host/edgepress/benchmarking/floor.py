"""How much two sessions differ on one board when nothing has changed."""

from __future__ import annotations

from edgepress.benchmarking.calibration import load_calibration

DEFAULT_FLOOR = 0.05
"""MLPerf Mobile 4.0 asks for results within 5 % in 5 tries: what a board is trusted with before it is calibrated."""


def noise_floor(device: str, physical_device: str | None = None) -> float:
    """Return by how much (a fraction) medians of two sessions may differ on a device without meaning anything: what
    `edgepress device calibrate` found on that board, else :data:`DEFAULT_FLOOR`."""
    calibration = load_calibration(device, physical_device)
    return DEFAULT_FLOOR if calibration is None else calibration.between


def session_floor(device: str, physical_device: str | None = None) -> float | None:
    """Return by how much the same file differs from itself inside a session there; None: never calibrated."""
    calibration = load_calibration(device, physical_device)
    return None if calibration is None else calibration.floor
