"""Whatever call is the last one: what was in use before is in use, or what was to be, and the next call tidies up.

A part of the points; benchmarks/cut_points.py takes all of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import cutting

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: calls cannot be made to fail")

RECOVERY_S = 2.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of fsyncs prove nothing here."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("scenarios", "cuts", "every"),
    [
        ("deploy,sick,rollback", "kill", 2),
        ("first,undeploy,upgrade,gc", "kill,EIO", 5),
        ("healthy,rollback", "ENOSPC,EIO from then on,disk full from then on", 6),
        ("deploy,rollback", ",".join(cutting.LINK_CUTS), 2),
        ("job", "kill", 20),
    ],
)
def test_nothing_is_in_use_but_the_old_or_the_new(folder: Path, scenarios: str, cuts: str, every: int) -> None:
    for found in cutting.run(folder, scenarios, cuts, every):
        assert found["points"] > 0
        assert found["bad"] == [], found
        assert found["longest_recovery_s"] < RECOVERY_S


def test_a_rollback_takes_place_on_a_full_disk(folder: Path) -> None:
    (found,) = cutting.run(folder, "rollback", "disk full from then on", every=1000)  # full from the first call on
    assert found["outcomes"] == {"done: A": 1}


def test_a_cut_that_breaks_something_is_noticed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is judged: an agent that writes into the release in use is found out."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "from edgepress_agent import releases\n"
        "def careless(folder, release, check):\n"
        "    (folder / 'current').unlink(missing_ok=True)\n"
        "    (folder / 'current').symlink_to(f'releases/{release}')\n"
        "releases._switch = careless\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = cutting.run(folder, "rollback", "kill", 1)
    assert any("nothing at once" in bad for bad in found["bad"])
