"""What is kept of a job while somebody waits for it, and after nobody does."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress.conversion import inspect
from edgepress.errors import JobError, LinkLostError, ProtocolError, TableError
from edgepress.pending import Measured, PendingJobs
from edgepress.table.recording import MetricValue, Subject

MODELS = Path(__file__).parents[1] / "cases/models"


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    source = sorted(MODELS.glob("*.tflite"))[0]
    model = inspect(Path(shutil.copy(source, tmp_path / "model.tflite")))
    return Measured(model, Subject("digits.keras", recipe="int8", host_metric=MetricValue(0.9, 0.8, 0.95)))


@pytest.fixture
def jobs(tmp_path: Path) -> PendingJobs:
    return PendingJobs(tmp_path / "pending")


@pytest.fixture
def left(jobs: PendingJobs, measured: Measured) -> Iterator[PendingJobs]:
    with pytest.raises(LinkLostError), jobs.waiting("job-1", [measured]):
        raise LinkLostError("cut")
    return jobs


def test_a_job_whose_link_was_lost_is_left_behind_with_all_that_was_known_of_it(
    left: PendingJobs, measured: Measured
) -> None:
    with left.left_behind("job-1") as found:
        assert found == (measured,)


def test_a_job_is_taken_home_once(left: PendingJobs) -> None:
    with left.left_behind("job-1") as found:
        assert found
    with left.left_behind("job-1") as again:
        assert again is None


def test_a_job_that_could_not_be_taken_home_stays_left_behind(left: PendingJobs) -> None:
    with pytest.raises(LinkLostError), left.left_behind("job-1"):
        raise LinkLostError("cut again")
    with left.left_behind("job-1") as found:
        assert found


def test_a_report_that_cannot_be_read_is_asked_for_once(left: PendingJobs) -> None:
    with pytest.raises(ProtocolError), left.left_behind("job-1"):
        raise ProtocolError("of another version")
    with left.left_behind("job-1") as found:
        assert found is None


def test_a_job_that_somebody_waits_for_is_not_taken_from_them(jobs: PendingJobs, measured: Measured) -> None:
    with jobs.waiting("job-1", [measured]), jobs.left_behind("job-1") as found:
        assert found is None


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, JobError])
def test_a_good_end_an_interrupt_and_an_error_of_the_agent_settle_the_job(
    jobs: PendingJobs, measured: Measured, end: type[BaseException] | None
) -> None:
    if end is None:
        with jobs.waiting("job-1", [measured]):
            pass
    else:
        with pytest.raises(end), jobs.waiting("job-1", [measured]):
            raise end("over")
    assert list(jobs.folder.iterdir()) == []


@pytest.mark.parametrize("end", [TableError, OSError])
def test_a_measurement_that_could_not_be_recorded_can_be_taken_home_later(
    jobs: PendingJobs, measured: Measured, end: type[Exception]
) -> None:
    with pytest.raises(end), jobs.waiting("job-1", [measured]):
        raise end("the table has no room")
    with jobs.left_behind("job-1") as found:
        assert found == (measured,)


def test_what_cannot_be_kept_on_file_leaves_no_file(
    jobs: PendingJobs, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"), jobs.waiting("job-1", [measured]):
        pytest.fail("nothing may be waited for")
    assert list(jobs.folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["gone", "changed", "no-json"])
def test_a_job_whose_files_are_not_what_they_were_stays_on_the_device(
    left: PendingJobs, measured: Measured, damage: str
) -> None:
    if damage == "gone":
        measured.model.path.unlink()
    elif damage == "changed":
        other = sorted(MODELS.glob("*.tflite"))[1]
        shutil.copy(other, measured.model.path)
    else:
        (left.folder / "job-1.json").write_text("{")
    with left.left_behind("job-1") as found:
        assert found is None


def test_a_job_of_somebody_else_is_not_known(jobs: PendingJobs) -> None:
    with jobs.left_behind("job-9") as found:
        assert found is None
