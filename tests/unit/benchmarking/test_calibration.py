"""What a device's calibration says, and where it is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgepress.benchmarking import calibration, session
from edgepress.benchmarking.calibration import calibrate, load_calibration
from edgepress.benchmarking.floor import DEFAULT_FLOOR, noise_floor
from edgepress.benchmarking.plans import PLANS
from edgepress.errors import InventoryError
from edgepress_agent.protocol.messages import JobReport
from support.table_rows import RUNTIME, job_report, run_report, tflite_model


@pytest.fixture(autouse=True)
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_DEVICES", str(tmp_path / "devices.toml"))
    return tmp_path


def board(physical_id: str = "ab") -> Any:
    return SimpleNamespace(name="pi4", physical_id=physical_id, runtime=lambda: RUNTIME)


def reports(monkeypatch: pytest.MonkeyPatch, *levels: tuple[int, int]) -> list[Any]:
    """Let sessions give these medians of the two runs; return the plans that were asked for."""
    asked: list[Any] = []
    left = list(levels)

    def measure(_: Any, setups: Any, plan: Any, **__: Any) -> JobReport:
        asked.append((len(setups), plan))
        a, b = left.pop(0)
        return job_report(run_report([[a] * 30] * 10), run_report([[b] * 30] * 10))

    monkeypatch.setattr(session, "measure_setups", measure)
    monkeypatch.setattr(session, "acknowledge", lambda *_: None)
    return asked


def test_the_floor_is_the_largest_difference_of_a_file_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = reports(monkeypatch, (100_000, 101_000), (102_000, 102_000), (100_000, 99_000))
    found = calibrate(board(), cast(Any, tflite_model()), PLANS["quick"], sessions=3)
    assert found.floor == pytest.approx(0.01)
    assert found.between == pytest.approx(0.02)
    assert [(setups, plan.processes) for setups, plan in asked] == [(2, 10)] * 3
    assert len({plan.seed for _, plan in asked}) == 3


def test_it_is_found_again_by_name_unless_it_is_another_board(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_calibration("pi4") is None
    assert noise_floor("pi4") == DEFAULT_FLOOR
    reports(monkeypatch, (100_000, 101_000), (103_000, 103_000))
    found = calibrate(board(), cast(Any, tflite_model()), PLANS["quick"], sessions=2)
    assert load_calibration("pi4") == load_calibration("pi4", "ab") == found
    assert load_calibration("pi4", "cd") is None
    assert noise_floor("pi4", "ab") == noise_floor("pi4") == pytest.approx(0.03)
    assert noise_floor("pi4", "cd") == DEFAULT_FLOOR


def test_calibrations_of_several_devices_stand_side_by_side(inventory: Path) -> None:
    one = calibration.Calibration(0.01, 0.02, 5, "a", None, "00", 1, 1)
    calibration._store(one)
    calibration._store(dataclasses.replace(one, device="b"))
    assert load_calibration("a") == one
    assert load_calibration("b") is not None
    assert (inventory / "calibrations.json").is_file()


def test_a_damaged_file_says_what_to_do(inventory: Path) -> None:
    (inventory / "calibrations.json").write_text("{")
    with pytest.raises(InventoryError, match="calibrate again"):
        load_calibration("pi4")
