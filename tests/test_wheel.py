"""What `pip install edgepress` brings."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("edgepress-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_every_file_of_the_packages(names: set[str]) -> None:
    for parent in ("host", "converters", "agent"):
        for package in (ROOT / parent).glob("edgepress*/"):
            files = {path.relative_to(ROOT / parent).as_posix() for path in package.rglob("*") if path.is_file()}
            assert {name for name in files if "__pycache__" not in name} <= names


def test_the_wheel_has_what_is_no_python(names: set[str]) -> None:
    for name in (
        *(f"edgepress/device_profiles/{path.name}" for path in (ROOT / "device_profiles").iterdir()),
        "edgepress/compression/recipes/int8.toml",
        "edgepress/table/migrations/versions/0001_results.py",
        "edgepress_converters/data/probe_cases.zip",
        "edgepress_converters/data/runtime_tflite-runtime_2.14.0.json",
        *(f"{package}/py.typed" for package in ("edgepress", "edgepress_converters", "edgepress_agent")),
    ):
        assert name in names


def test_the_wheel_has_nothing_else(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    (metadata,) = (name for name in tops if name.endswith(".dist-info"))
    assert tops == {"edgepress", "edgepress_converters", "edgepress_agent", metadata}
