"""`edgepress fleet` and `edgepress jobs` on this machine."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepress import deploying
from edgepress.cli.main import cli
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.errors import DeploymentError, UnreachableError
from edgepress.fleet import deployment
from edgepress.fleet.intents import Intents
from edgepress.fleet.rollout import BoardResult, Rollout
from edgepress_agent.protocol.messages import Configuration, JobSpec, ReleaseSpec, ReleaseState

MODELS = Path(__file__).parents[2] / "cases" / "models"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("home", "lock", "cache", "db"):
        monkeypatch.setenv(f"EDGEPRESS_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("EDGEPRESS_DEVICES", str(tmp_path / "devices.toml"))
    (tmp_path / "devices.toml").write_text(
        'schema = 1\n[devices.pi4]\ntarget = "pi@pi4"\n[devices.pi5]\ntarget = "pi@pi5"\n'
        '[groups]\nlab = ["pi4", "pi5"]\n'
    )
    return tmp_path


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_status_says_what_runs_what_it_should_be_and_who_has_the_device() -> None:
    with Device.open("local") as board:
        content = (MODELS / "smoke.tflite").read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        board.client.push(content, sha256)
        board.client.activate(ReleaseSpec("app", sha256, {}))
    assert "app uses 000001-" in run("fleet", "status", "-d", "local").stdout
    assert "nobody deployed it from here" in run("fleet", "status", "-d", "local").stdout
    Intents(Inventory.load()).deployed("local", "app", "f" * 64, Path("/gone.tflite"), None, None)
    assert "is meant to use model ffffffffffff" in run("fleet", "status", "-d", "local").stdout
    (device,) = json.loads(run("fleet", "status", "-d", "local", "--json").stdout)["devices"]
    assert (device["device"], device["lock"]["held"], device["jobs"]) == ("local", False, [])
    assert [app["has_drifted"] for app in device["apps"]] == [True]


def test_catching_up_without_the_file_says_what_is_meant_and_missing() -> None:
    Intents(Inventory.load()).rolled_back("local", "app", "f" * 64)
    failed = CliRunner().invoke(cli, ["fleet", "catch-up", "-d", "local"])
    assert isinstance(failed.exception, DeploymentError)
    assert "local is meant to use model ffffffffffff as app" in str(failed.exception)


def test_a_device_that_is_as_it_is_meant_has_nothing_to_catch_up_with() -> None:
    assert run("fleet", "catch-up", "-d", "local").stdout == "local: nothing to catch up with\n"


def test_a_rollout_tells_what_was_done_what_is_off_and_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    state = ReleaseState("app", "000002-aaaaaaaaaaaa", None, (), "/apps/app/current/model.tflite")

    def rolled_back(app: str, names: Any, *_: object, **__: object) -> Rollout[ReleaseState]:
        assert names == ["local", "pi4", "pi5"]
        off = BoardResult[ReleaseState]("pi4", "off", error=UnreachableError("no route", "pi4"))
        results = BoardResult("local", "done", state), off, BoardResult[ReleaseState]("pi5", "left out")
        return Rollout(results, stopped=True)

    monkeypatch.setattr(deployment, "rollback", rolled_back)
    result = run("rollback", "app", "-d", "local,@lab", code=1)
    assert result.stdout == "local: app uses 000002-aaaaaaaaaaaa again\n"
    assert "error: pi4: no route" in result.stderr
    assert "catch-up" not in result.stderr
    assert "not begun on pi5" in result.stderr
    document = json.loads(run("rollback", "app", "-d", "local,@lab", "--json", code=1).stdout)
    assert document["left_out"] == ["pi5"]
    assert [failure["status"] for failure in document["failures"]] == ["off"]


@pytest.fixture
def only_pi5_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the group: it takes whatever it is given, and goes back to whatever it is told to."""
    state = ReleaseState("app", "1", None, (), "/apps/app/current/model.tflite")

    def open_(name: str, inventory: object) -> Any:
        if name != "pi5":
            raise UnreachableError("no route", name)
        return nullcontext(name)

    def packed(file: Path, app: str) -> Any:
        return SimpleNamespace(app=app, model=SimpleNamespace(sha256=file.stem * 64, path=file))

    monkeypatch.setattr(Device, "open", open_)
    monkeypatch.setattr(deploying, "pack", packed)
    monkeypatch.setattr(deploying, "deliver", lambda *_, **__: state)
    monkeypatch.setattr(deployment.releases, "rollback", lambda *_: state)


@pytest.mark.usefixtures("only_pi5_answers")
def test_catching_up_is_promised_only_where_it_is_remembered_what_is_meant() -> None:
    promise = "pi4 did not answer: `edgepress fleet catch-up`"
    alone = CliRunner().invoke(cli, ["deploy", "a.tflite", "-d", "pi4", "--app", "app"])
    assert not hasattr(alone.exception, "__notes__")
    assert not Intents(Inventory.load()).of("pi4")

    assert f"{promise} brings it there" in run("deploy", "a.tflite", "-d", "@lab", "--app", "app", code=1).stderr
    assert Intents(Inventory.load()).of("pi4")["app"].model_sha256 == "a" * 64

    assert "catch-up" not in run("rollback", "app", "-d", "@lab", code=1).stderr  # nobody knows to what
    run("deploy", "b.tflite", "-d", "@lab", "--app", "app", code=1)
    assert "catch-up" not in run("rollback", "app", "-d", "@lab", "--to", "1", code=1).stderr
    assert f"{promise} goes back there" in run("rollback", "app", "-d", "@lab", code=1).stderr
    assert Intents(Inventory.load()).of("pi4")["app"].model_sha256 == "a" * 64


def test_jobs_are_listed_and_one_that_nobody_wants_is_cancelled() -> None:
    assert run("jobs", "list", "-d", "local").stdout == "local: no job\n"
    with Device.open("local") as board:
        content = (MODELS / "endless.tflite").read_bytes()

        sha256 = hashlib.sha256(content).hexdigest()
        board.client.push(content, sha256)
        configuration = Configuration(sha256, "no-such-runtime", None)
        job = board.client.start(JobSpec("evaluate", "ada@here", (configuration,), inputs_sha256=sha256))
    (device,) = json.loads(run("jobs", "list", "-d", "local", "--json").stdout)["devices"]
    assert [state["job_id"] for state in device["jobs"]] == [job.job_id]
    assert "ada@here" in run("jobs", "list", "-d", "local").stdout
    run("jobs", "cancel", job.job_id, "-d", "local")
    assert run("jobs", "list", "-d", "local").stdout == "local: no job\n"


def test_without_anything_left_behind_collecting_adds_no_rows() -> None:
    assert run("jobs", "collect", "-d", "local").stdout.startswith("local: 0 rows")
