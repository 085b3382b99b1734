"""--device means the same on every command."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from edgepress import deploying, inference
from edgepress.cli.deploy import deploy
from edgepress.cli.infer import infer
from edgepress.cli.main import cli
from edgepress.cli.table import table
from edgepress.devices.device import Device
from edgepress.inference import Answer
from edgepress.table.store import ResultStore
from edgepress_agent.protocol.messages import ReleaseState


@pytest.fixture(autouse=True)
def inventory(tmp_path, monkeypatch):
    path = tmp_path / "devices.toml"
    path.write_text(
        'schema = 1\n[devices.pi4]\ntarget = "pi@pi4"\n[devices.pi5]\ntarget = "pi@pi5"\n'
        '[groups]\nshelf = ["pi4", "pi5"]\n'
    )
    monkeypatch.setenv("EDGEPRESS_DEVICES", str(path))


def output_of(command, *words):
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_infer_asks_each_device_of_a_group_and_prints_one_document(monkeypatch):
    monkeypatch.setattr(inference, "infer", lambda file, *, device, **_: Answer(device, "x 1", (), (), 1))

    answers = json.loads(output_of(infer, "m.tflite", "-d", "@shelf", "--input", "x.npy", "--json"))["answers"]

    assert [answer["device"] for answer in answers] == ["pi4", "pi5"]


def test_deploy_reaches_each_device_of_a_group_and_makes_the_file_ready_once(monkeypatch):
    packed = []
    parcel = SimpleNamespace(app="a", model=SimpleNamespace(sha256="0" * 64, path=Path("m.tflite")))
    monkeypatch.setattr(deploying, "pack", lambda file, app: packed.append(file) or parcel)
    monkeypatch.setattr(Device, "open", lambda name, inventory: nullcontext(name))
    monkeypatch.setattr(deploying, "deliver", lambda parcel, board, **_: ReleaseState("a", "1", None, (), board))

    releases = json.loads(output_of(deploy, "m.tflite", "-d", "@shelf,local", "--json"))["releases"]

    assert [(one["device"], one["path"]) for one in releases] == [(n, n) for n in ("pi4", "pi5", "local")]
    assert len(packed) == 1


def test_the_table_takes_groups_and_names_that_left_the_inventory(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(ResultStore, "rows", lambda self, *, devices=(), **_: asked.extend(devices) or ())

    output_of(table, "-d", "@shelf,gone", "--db", str(tmp_path / "table.db"))

    assert asked == ["pi4", "pi5", "gone"]


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "m.tflite", "--input", "x.npy", "--device", ""),
        ("fleet", "catch-up", "--device", ","),
        ("rollback", "app", "-d", "pi4", "-d", " "),
        ("run", "m.keras", "--data", "d.npz", "-d", "pi4", "--recipe", ","),
        ("bench", "m.tflite", "-d", "pi4", "--threads", ""),
        ("table", "--columns", ","),
        ("table", "--mix", ""),
    ],
)
def test_a_list_that_names_nothing_is_wrong_usage(words):
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "names nothing" in result.stderr


def test_adding_a_device_again_changes_what_is_named_and_keeps_the_rest():
    output_of(
        cli, "device", "add", "pi4", "pi@10.0.0.4", "--profile", "raspberry-pi-4b", "--home", "/ssd", "--allow-sudo"
    )
    output_of(cli, "device", "add", "pi4", "pi@10.0.0.7", "--profile", "raspberry-pi-5")

    assert json.loads(output_of(cli, "device", "show", "pi4", "--json"))["device"] == {
        "name": "pi4",
        "target": "pi@10.0.0.7",
        "profile": "raspberry-pi-5",
        "home": "/ssd",
        "allow_sudo": True,
    }
