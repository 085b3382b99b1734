"""What is sent to a board that cannot fetch a runtime itself."""

from __future__ import annotations

import tarfile
from pathlib import Path

from edgepress.devices.offline import pack


def test_packages_are_sent_without_their_tests_and_without_an_owner(tmp_path: Path) -> None:
    for name in ("numpy/core.py", "numpy/testing/__init__.py", "numpy/linalg/tests/test_linalg.py", "tests.py"):
        file = tmp_path / "runtime" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    pack(tmp_path / "runtime", tmp_path / "packed.tar.gz")
    with tarfile.open(tmp_path / "packed.tar.gz") as tar:
        entries = tar.getmembers()
    files = sorted(entry.name for entry in entries if entry.isfile())
    assert files == ["./numpy/core.py", "./numpy/testing/__init__.py", "./tests.py"]
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "", "")}
