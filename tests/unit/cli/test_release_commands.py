"""The commands about releases, on this machine as a device and on boards that are made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepress.cli.main import cli
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.errors import UnreachableError
from edgepress.fleet.intents import Intents

MODELS = Path(__file__).parents[2] / "cases" / "models"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a board with two releases of `classifier`, deployed by the command."""
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        settle_in(folder, patch)
        for name in ("conv_int8", "dense_float32"):
            invoke("deploy", MODELS / f"{name}.tflite", "-d", "local", "--app", "classifier")
    return folder / "home"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    settle_in(tmp_path, monkeypatch)
    return invoke


@pytest.fixture
def deployed(run: Run, two_releases: Path, tmp_path: Path) -> Run:
    """The same on a board of the test's own."""
    shutil.copytree(two_releases, tmp_path / "home", symlinks=True)
    return run


def settle_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("home", "lock", "devices"):
        patch.setenv(f"EDGEPRESS_{name.upper()}", str(folder / name))


def invoke(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def releases(run: Run) -> dict[str, Any]:
    (device,) = json.loads(run("releases", "-d", "local", "--json").stdout)["devices"]
    (app,) = device["apps"]
    assert device["device"] == "local"
    return dict(app)


def test_releases_are_listed_newest_first_with_what_is_in_use(deployed: Run) -> None:
    lines = deployed("releases", "-d", "local").stdout.splitlines()
    state = releases(deployed)
    assert lines[0] == f"local: classifier uses {state['current']}"
    assert [line.split()[0] for line in lines[1:]] == [state["current"], state["previous"]]
    assert lines[1].rstrip().endswith("current")
    assert lines[2].rstrip().endswith("previous")
    assert state["releases"][1]["model_sha256"][:12] in lines[1]


def test_rollback_undeploy_and_gc_say_what_they_did(deployed: Run) -> None:
    before = releases(deployed)
    assert deployed("rollback", "classifier", "-d", "local").stdout == (
        f"local: classifier uses {before['previous']} again\n"
    )
    again = json.loads(deployed("rollback", "classifier", "-d", "local", "--to", before["current"], "--json").stdout)
    assert again["releases"][0]["current"] == before["current"]
    deployed("rollback", "classifier", "-d", "local", "--to", before["previous"])
    would = json.loads(deployed("gc", "-d", "local", "--keep", 0, "--dry-run", "--json").stdout)["collected"][0]
    assert would["releases"] == [f"classifier/{before['current']}"]
    assert releases(deployed)["releases"] == before["releases"]
    assert deployed("gc", "-d", "local", "--keep", 0).stdout.startswith("local: 1 release gone: ")
    assert deployed("undeploy", "classifier", "-d", "local").stdout == "local: classifier is gone\n"
    assert deployed("releases", "-d", "local").stdout == "local: no application\n"


def test_what_is_meant_of_an_application_that_is_gone_can_be_forgotten_once(deployed: Run) -> None:
    with Device.open("local") as board:
        board.client.undeploy("classifier")
    intents = Intents(Inventory.load())
    intents.deployed("local", "classifier", "a" * 64, Path("a.tflite"), None, None)
    assert deployed("undeploy", "classifier", "-d", "local").stdout == "local: classifier is gone\n"
    assert not intents.of("local")
    again = CliRunner().invoke(cli, ["undeploy", "classifier", "-d", "local"])
    assert "no application 'classifier' on this board" in str(again.exception)


def test_a_dry_run_of_deploy_sends_and_switches_nothing(deployed: Run, tmp_path: Path) -> None:
    before = releases(deployed)
    smoke = ("deploy", MODELS / "smoke.tflite", "-d", "local", "--app", "classifier", "--dry-run")
    (plan,) = json.loads(deployed(*smoke, "--json").stdout)["plans"]
    assert plan["current"] == before["current"]
    assert plan["bytes_to_send"] == (MODELS / "smoke.tflite").stat().st_size
    assert f"replaces {before['current']}; " in deployed(*smoke).stdout
    same = ("deploy", MODELS / "dense_float32.tflite", "-d", "local", "--app", "classifier", "--dry-run")
    assert "has this model in use already" in deployed(*same).stdout
    assert "nothing would be sent" in deployed(*same).stdout
    assert releases(deployed) == before


def test_a_deployment_whose_health_command_fails_is_an_error_and_the_old_release_stays(deployed: Run) -> None:
    before = releases(deployed)
    smoke = ("deploy", MODELS / "smoke.tflite", "-d", "local", "--app", "classifier")
    failed = CliRunner().invoke(cli, [*map(str, smoke), "--health-cmd", "sh -c 'echo no camera; exit 1'"])
    assert "`sh -c echo no camera; exit 1` failed with status 1: no camera" in str(failed.exception)
    assert releases(deployed) == before
    deployed(*smoke, "--health-cmd", "test -f model.tflite")
    assert releases(deployed)["previous"] == before["current"]


def test_a_health_command_with_an_open_quote_is_wrong_usage(run: Run) -> None:
    result = run("deploy", "x.tflite", "-d", "local", "--health-cmd", "echo 'x", code=2)
    assert "No closing quotation" in result.stderr


def test_one_device_that_fails_does_not_keep_the_others_from_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def undeploy(self, app: str) -> None: ...

    def open_(name: str, inventory: object) -> Any:
        if name == "pi4":
            raise UnreachableError("no route to pi4", name)
        return nullcontext(SimpleNamespace(client=Client()))

    monkeypatch.setattr(Device, "open", open_)
    monkeypatch.setattr("edgepress.cli.options.resolved", lambda devices: list(devices))
    result = run("undeploy", "classifier", "-d", "pi4,pi5", code=1)
    assert result.stdout == "pi5: classifier is gone\n"
    assert result.stderr == "error: pi4: no route to pi4\n"
    answer = json.loads(run("undeploy", "classifier", "-d", "pi4,pi5", "--json", code=1).stdout)
    assert answer["undeployed"] == [{"device": "pi5", "app": "classifier"}]
    assert answer["failures"] == [
        {"device": "pi4", "status": "off", "type": "UnreachableError", "message": "no route to pi4"}
    ]
