"""What boards are meant to use, on disk."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgepress.devices.inventory import Inventory
from edgepress.errors import InventoryError
from edgepress.fleet.intents import Intents
from edgepress_agent.protocol.messages import HealthCheck

NEW, OLD = "b" * 64, "a" * 64


@pytest.fixture
def intents(tmp_path: Path) -> Intents:
    return Intents(Inventory.load(tmp_path / "devices.toml"))


def deploy(intents: Intents, sha256: str, device: str = "pi4", app: str = "classifier") -> None:
    intents.deployed(device, app, sha256, intents.path.parent / f"{sha256[:2]}.tflite", None, None)


def test_an_inventory_without_deployments_means_nothing(intents: Intents) -> None:
    assert intents.of("pi4") == {}
    assert not intents.path.exists()


def test_what_a_deployment_was_given_is_kept(intents: Intents, tmp_path: Path) -> None:
    health = HealthCheck("app.service", ("curl", "localhost"), 5.0)
    intents.deployed("pi4", "classifier", NEW, Path("/models/m.tflite"), "ai-edge-litert", health)
    (intent,) = intents.of("pi4").values()
    assert (intent.model_sha256, intent.runtime, intent.health) == (NEW, "ai-edge-litert", health)
    assert intents.file_of(intent) == Path("/models/m.tflite")


def test_a_model_beside_the_inventory_is_found_when_the_folder_moves(intents: Intents, tmp_path: Path) -> None:
    deploy(intents, NEW)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    intents.path.rename(moved / "fleet.json")
    there = Intents(Inventory.load(moved / "devices.toml"))
    assert there.file_of(there.of("pi4")["classifier"]) == moved / "bb.tflite"


def test_a_rollback_leads_to_what_was_meant_before(intents: Intents) -> None:
    deploy(intents, OLD)
    deploy(intents, NEW)
    deploy(intents, NEW)  # deploying the same again is no step
    assert intents.rolled_back("pi4", "classifier")
    intent = intents.of("pi4")["classifier"]
    assert (intent.model_sha256, intent.file) == (OLD, "aa.tflite")


def test_a_rollback_of_a_board_that_told_its_model_means_that_one(intents: Intents) -> None:
    deploy(intents, NEW)
    assert intents.rolled_back("pi4", "classifier", "c" * 64)
    intent = intents.of("pi4")["classifier"]
    assert (intent.model_sha256, intents.file_of(intent)) == ("c" * 64, None)


def test_where_nobody_knows_what_was_before_nothing_changes(intents: Intents) -> None:
    deploy(intents, NEW)
    assert not intents.rolled_back("pi4", "classifier")
    assert intents.of("pi4")["classifier"].model_sha256 == NEW


def test_what_is_forgotten_leaves_no_trace(intents: Intents) -> None:
    deploy(intents, NEW)
    intents.forget("pi4", "classifier")
    intents.forget("pi5", "never-there")
    assert json.loads(intents.path.read_text()) == {"schema": 1, "devices": {}}


def test_many_boards_at_once_lose_nothing(intents: Intents) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: deploy(intents, NEW, f"pi{number}"), range(24)))
    assert all(intents.of(f"pi{number}") for number in range(24))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"schema": 2, "devices": {}}', "has schema 2"),
        ('{"schema": 1, "devices": {"pi4": {"a": {"model_sha256": 1}}}}', "devices.pi4.a.model_sha256"),
        ('{"schema": 1, "devices": {}, "more": 1}', "more"),
    ],
)
def test_a_file_that_is_none_is_explained(text: str, message: str, intents: Intents) -> None:
    intents.path.write_text(text)
    with pytest.raises(InventoryError, match=message):
        intents.of("pi4")
