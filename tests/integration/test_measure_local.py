"""Noise floor, comparison and captures of the device `local`, by the commands that docs/measurement.md shows."""

import json
import tarfile

import pytest

from edgepress.table.store import ResultStore
from support.agent_process import MODELS
from support.shell import Shell

FIRST, SECOND = str(MODELS / "conv_int8.tflite"), str(MODELS / "dense_float32.tflite")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("measure"))


@pytest.fixture(scope="module")
def floor(shell: Shell) -> float:
    """What `device calibrate` says a file differs from itself in one session."""
    found = shell.json("device", "calibrate", "local", FIRST, "--plan", "glance", "--sessions", "2")
    return found["floor"]


def test_a_comparison_goes_by_the_recorded_rows_and_twice_the_floor_of_the_device(shell: Shell, floor: float) -> None:
    found = shell.json("bench", FIRST, SECOND, "--device", "local", "--plan", "glance", "--compare")
    before, after = found["rows"]
    ratio = found["comparison"]["ratio"]
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert found["comparison"]["threshold"] == max(0.02, 2 * floor)
    with ResultStore.open(str(shell.folder / "table.db")) as store:  # a row counts what was not disturbed only
        assert [len(store.evidence(row["id"]).run.processes) for row in (before, after)] == [10, 10]


def test_check_names_the_floor_and_writes_what_the_board_says_of_itself(shell: Shell, floor: float) -> None:
    bundle = shell.folder / "local.tar.gz"
    said = shell.run("device", "check", "local", "--bundle", str(bundle)).stdout
    assert f"own noise     {floor:.1%} in a session" in said
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
        facts = next(name for name in names if name.endswith(".json"))
        file = archive.extractfile(facts)
        assert file is not None
        json.load(file)
    assert {"root/proc/cpuinfo", "root/etc/os-release"} <= set(names)
