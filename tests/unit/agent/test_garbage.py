"""What goes when garbage is collected, and what stays."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgepress_agent import garbage, launch
from edgepress_agent.content import ContentStore
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.job_folder import JobFolder
from edgepress_agent.protocol.messages import Collected, ReleaseSpec
from edgepress_agent.releases import ReleaseStore
from support.agent_process import AgentProcess, configuration, evaluate
from support.made_up_board import board_on_for

NOTHING = Collected((), 0, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board of these tests has been on for long, whatever this machine has."""
    root = board_on_for(tmp_path / "system", days=100)
    monkeypatch.setenv("EDGEPRESS_SYSTEM_ROOT", str(root))
    return root


@pytest.fixture
def home(home: Home, system: Path) -> Home:
    return replace(home, system=system)


def push(home: Home, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    store = ContentStore(home)
    store.upload(sha256, 0, len(content), content)
    store.commit(sha256, len(content))
    return sha256


def make_old(*paths: Path, age_s: float = 7 * 86_400.0) -> None:
    for path in paths:
        os.utime(path, (time.time() - age_s,) * 2)


def deploy(home: Home, *models: bytes) -> list[str]:
    store = ReleaseStore(home)
    made = []
    for model in models:
        state = store.activate(ReleaseSpec("digits", push(home, model), {}))
        assert state.current
        made.append(state.current)
    make_old(*home.inputs.iterdir())
    return made


def left(home: Home) -> list[str]:
    return [release.release for release in ReleaseStore(home).state("digits").releases]


def size_of(home: Home) -> int:
    """Bytes of all files, those with several names once."""
    files = {path.stat().st_ino: path.stat().st_size for path in home.root.rglob("*") if path.is_file()}
    return sum(files.values())


@pytest.mark.parametrize(("keep", "stay"), [(0, [3, 4]), (1, [2, 3, 4]), (2, [1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])])
def test_current_previous_and_so_many_of_the_newest_stay(home: Home, keep: int, stay: list[int]) -> None:
    made = deploy(home, b"1", b"22", b"333", b"4444", b"55555")
    before = size_of(home)
    collected = garbage.collect(home, keep, dry_run=False)
    assert left(home) == [made[index] for index in stay]
    gone = [index for index in range(5) if index not in stay]
    assert collected.releases == tuple(f"digits/{made[index]}" for index in gone)
    assert (collected.blobs, collected.freed_bytes) == (len(gone), before - size_of(home))
    assert len(list(home.inputs.iterdir())) == len(stay)
    assert garbage.collect(home, keep, dry_run=False) == NOTHING


def test_after_a_rollback_what_is_in_use_stays_although_it_is_old(home: Home) -> None:
    from edgepress_agent.protocol.messages import RollbackSpec

    made = deploy(home, b"1", b"22", b"333")
    ReleaseStore(home).rollback(RollbackSpec("digits", made[0]))
    garbage.collect(home, 0, dry_run=False)
    assert left(home) == made[:1]
    assert (home.apps / "digits/current/model.tflite").read_bytes() == b"1"


def test_a_dry_run_says_the_same_and_changes_nothing(home: Home) -> None:
    deploy(home, b"1", b"22", b"333")
    before = sorted(home.root.rglob("*"))
    would = garbage.collect(home, 0, dry_run=True)
    assert sorted(home.root.rglob("*")) == before
    assert would == garbage.collect(home, 0, dry_run=False)
    assert len(would.releases) == would.blobs == 1


def test_a_blob_that_a_host_has_just_asked_for_stays(home: Home) -> None:
    sha256 = push(home, b"wanted")
    make_old(*home.inputs.iterdir())
    assert ContentStore(home).state(sha256).present
    assert garbage.collect(home, 0, dry_run=False) == Collected((), 0, 0, 0, 0, recent_bytes=6)
    make_old(*home.inputs.iterdir())
    assert garbage.collect(home, 0, dry_run=False).blobs == 1


def test_what_a_running_job_needs_stays_until_it_has_ended(home: Home) -> None:
    model, inputs, other = push(home, b"....TFL3"), push(home, b"inputs"), push(home, b"other")
    folder = JobFolder(home.jobs / "20260101T000000000-abcdef01")
    folder.path.mkdir(parents=True)
    folder.write_spec(evaluate(model, inputs))
    alive = folder.lock_alive()
    make_old(*home.models.iterdir(), *home.inputs.iterdir())
    assert garbage.collect(home, 0, dry_run=False).blobs == 1
    assert not ContentStore(home).state(other).present
    os.close(alive)  # its process has ended
    assert garbage.collect(home, 0, dry_run=False).blobs == 2


def test_uploads_that_were_given_up_go_and_fresh_ones_can_be_resumed(home: Home) -> None:
    home.incoming.mkdir()
    for name in ("old.part", "agent-0123.pyz", "fresh.part"):
        (home.incoming / name).write_bytes(b"123")
    make_old(home.incoming / "old.part", home.incoming / "agent-0123.pyz")
    collected = garbage.collect(home, 0, dry_run=False)
    assert (collected.uploads, collected.freed_bytes) == (2, 6)
    assert [path.name for path in home.incoming.iterdir()] == ["fresh.part"]


def test_agents_go_but_the_current_one_and_those_that_a_process_runs_from(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.agents.mkdir()
    for name in ("current", "running", "old"):
        (home.agents / f"{name * 4}.pyz").write_bytes(b"agent")
    (home.agents / "current.pyz").symlink_to("currentcurrentcurrentcurrent.pyz")
    monkeypatch.setattr(launch, "package_root", lambda: home.agents / "runningrunningrunningrunning.pyz")
    opened: list[int] = []
    open_ = os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(open_(*a, **k)) or opened[-1])
    launch.hold_package()
    monkeypatch.setattr(os, "open", open_)
    assert garbage.collect(home, 0, dry_run=False).agents == 1
    assert not (home.agents / "oldoldoldold.pyz").exists()
    os.close(opened[0])
    assert garbage.collect(home, 0, dry_run=False).agents == 1
    assert sorted(path.name for path in home.agents.iterdir()) == ["current.pyz", "currentcurrentcurrentcurrent.pyz"]


def test_what_calls_that_were_cut_off_have_left_goes(home: Home) -> None:
    for debris in ("apps/.gone-digits-ab/releases", "jobs/.gone-x-ab", "jobs/.new-20260101T000000000-abcdef01"):
        (home.root / debris).mkdir(parents=True)
        (home.root / debris / "file").write_bytes(b"123")
    with AgentProcess(home.root, home.root / "lock") as agent:
        agent.call("gc", keep=0, dry_run=False)
    assert not [*home.apps.iterdir(), *home.jobs.iterdir()]


def test_a_host_collects_over_frames_and_a_model_can_be_sent_again(agent: AgentProcess, home: Home) -> None:
    sha256 = agent.push_model("smoke.tflite")
    make_old(*home.models.iterdir())
    would = agent.call("gc", keep=3, dry_run=True)
    assert agent.call("gc", keep=3, dry_run=False) == would
    assert (would["blobs"], would["releases"]) == (1, [])
    assert not agent.call("stat", sha256=sha256)["present"]
    assert agent.push_model("smoke.tflite") == sha256


@pytest.mark.parametrize("keep", [-1, 1001])
def test_a_number_that_makes_no_sense_is_refused(home: Home, keep: int) -> None:
    with pytest.raises(Fault) as refused:
        garbage.collect(home, keep, dry_run=False)
    assert refused.value.failure.code == "bad-request"


def test_the_configuration_of_a_job_of_another_version_counts_too(home: Home) -> None:
    model = push(home, b"....TFL3")
    folder = home.jobs / "20260101T000000000-abcdef01"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(f'{{"a word of the future": "{configuration(model).model_sha256}"}}')
    alive = JobFolder(folder).lock_alive()
    make_old(*home.models.iterdir())
    assert garbage.collect(home, 0, dry_run=False) == NOTHING
    os.close(alive)
