"""Many boards over real SSH, some of which are never as they should be."""

from __future__ import annotations

import getpass
import hashlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress import deploying
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.errors import ChangedHostKeyError, DiskFullError
from edgepress.fleet import deployment, status
from edgepress.fleet.intents import Intents
from edgepress.fleet.rollout import BoardResult, Staging, roll_out
from edgepress.transport import ssh_link
from edgepress_agent.protocol.messages import ReleaseSpec, ReleaseState
from support.fleet_boards import Fleet, start_fleet
from support.sshd import MISSING, SSHD

pytestmark = pytest.mark.ssh

MODEL = Path(__file__).parents[1] / "cases" / "models" / "conv_int8.tflite"


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """So many boards as the test is parametrized with."""
    if SSHD is None:
        pytest.skip(MISSING)
    fleet = start_fleet(tmp_path / "fleet", request.param)
    yield fleet
    fleet.stop()


class SilentBoard:
    """Takes a connection and says nothing until it hangs up."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.port: int = server.getsockname()[1]

    def hang_up(self) -> None:
        self._server.accept()[0].close()


@pytest.fixture
def silent() -> Iterator[SilentBoard]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield SilentBoard(server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system without room for a model; None where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if getpass.getuser() != "root" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("fleet", [20], indirect=True)
def test_of_twenty_boards_the_sound_ones_are_done_whatever_the_others_do(
    fleet: Fleet, silent: SilentBoard, small_disk: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_link, "HANDSHAKE_TIMEOUT_S", 120.0)
    sick = {"b03", "b07", "b11", *(["b15"] if small_disk else [])}
    fleet.strangers.add("b03")
    fleet.ports["b07"] = silent.port
    with socket.create_server(("127.0.0.1", 0)) as gone:
        fleet.ports["b11"] = gone.getsockname()[1]
    if small_disk:
        fleet.homes["b15"] = small_disk / "home"
    inventory = fleet.inventory(tmp_path / "lab")
    content = MODEL.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()

    def install(name: str) -> ReleaseState:
        with Device.open(name, inventory) as board:
            board.client.push(content, sha256)
            return board.client.activate(ReleaseSpec("classifier", sha256, {}))

    ended: list[str] = []

    def told(result: BoardResult[ReleaseState]) -> None:
        ended.append(result.device)
        if len(ended) == 19:
            silent.hang_up()

    done = roll_out(
        [config.name for config in inventory.resolve(["@lab"])],
        install,
        Staging(parallel=4, canaries=1, max_failures=1),
        told,
    )
    assert set(done.devices("done")) == set(fleet.ports) - sick
    assert not done.stopped
    results = {result.device: result for result in done.results}
    assert (results["b07"].status, results["b11"].status) == ("off", "off")
    assert isinstance(results["b03"].error, ChangedHostKeyError)
    if small_disk:
        assert isinstance(results["b15"].error, DiskFullError)
    assert ended[-1] == "b07"  # nobody had to wait for it
    for name in done.devices("done"):
        assert (fleet.home(name) / "apps/classifier/current/model.tflite").read_bytes() == content


@pytest.mark.parametrize("fleet", [2], indirect=True)
def test_a_board_that_was_off_catches_up_and_all_go_back_together(fleet: Fleet, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(MODEL.read_bytes() + bytes(16))  # another model by its hash
    old, new = deploying.pack(MODEL, "app"), deploying.pack(other, "app")
    names, staging = ["b00", "b01"], Staging(canaries=1, max_failures=0)
    lab = tmp_path / "lab"
    assert deployment.deploy(old, names, staging, fleet.inventory(lab)).devices("done") == ("b00", "b01")

    port = fleet.ports["b01"]
    with socket.create_server(("127.0.0.1", 0)) as gone:
        fleet.ports["b01"] = gone.getsockname()[1]
    done = deployment.deploy(new, names, staging, fleet.inventory(lab))
    assert (done.devices("done"), done.devices("off")) == (("b00",), ("b01",))

    fleet.ports["b01"] = port
    inventory = fleet.inventory(lab)
    assert drifted(inventory, names) == {"b00": False, "b01": True}
    caught_up = deployment.catch_up(names, staging, inventory)
    assert [len(result.answer or ()) for result in caught_up.results] == [0, 1]
    assert in_use(inventory, names) == dict.fromkeys(names, new.model.sha256)

    assert deployment.rollback("app", names, staging, inventory).devices("done") == ("b00", "b01")
    assert in_use(inventory, names) == dict.fromkeys(names, old.model.sha256)
    assert drifted(inventory, names) == {"b00": False, "b01": False}

    with Device.open("b00", inventory) as board:  # somebody else goes forward again
        board.client.activate(ReleaseSpec("app", new.model.sha256, {}))
    assert drifted(inventory, names) == {"b00": True, "b01": False}
    Intents(inventory).forget("b01", "app")
    assert deployment.catch_up(names, staging, inventory).devices("done") == ("b00", "b01")
    assert in_use(inventory, names) == dict.fromkeys(names, old.model.sha256)


def statuses(inventory: Inventory, names: list[str]) -> dict[str, status.AppStatus]:
    asked = status.ask(names, inventory, parallel=2)
    found = {}
    for result in asked.results:
        assert result.answer is not None, result.error
        (found[result.device],) = result.answer.apps
    return found


def in_use(inventory: Inventory, names: list[str]) -> dict[str, str | None]:
    return {name: app.model_sha256 for name, app in statuses(inventory, names).items()}


def drifted(inventory: Inventory, names: list[str]) -> dict[str, bool]:
    return {name: app.has_drifted for name, app in statuses(inventory, names).items()}
