"""An open device: its agent is this host's, its runtime is the one that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepress.devices.agent_archive import agent_archive
from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.errors import LinkLostError, ProvisioningError, TransportError, UnknownDeviceError
from edgepress.transport.base import Completed
from edgepress.transport.fake import Answer, FakeTransport, HangUp, ScriptedAgent, Verb
from edgepress_agent.protocol.messages import DeviceFacts, LockState
from support.reach_agents import HELLO, LITERT, PI4, TFLITE

CONFIG = DeviceConfig(name="pi4", target="pi@pi4", profile="raspberry-pi-4b")
SHA256 = agent_archive().sha256
SERVE = ("python3", f".edgepress/agents/{SHA256}.pyz", "serve")


def verbs(facts: DeviceFacts = PI4, **more: Verb) -> dict[str, Verb]:
    return {"hello": lambda p, b: Answer(HELLO), "facts": lambda p, b: Answer(facts), **more}


def device(facts: DeviceFacts = PI4, config: DeviceConfig = CONFIG, **more: Verb) -> Device:
    return Device(config, FakeTransport(ScriptedAgent(verbs(facts, **more))))


class BareBoard(FakeTransport):
    """A board whose agent is there once it was adopted."""

    def __init__(self, adopts: bool = True, run: Any = None) -> None:
        self.adopted = False
        self._adopts = adopts
        super().__init__(ScriptedAgent(verbs(hello=self._hello)), run or self._command)

    def _hello(self, params: dict[str, Any], blob: bytes | None) -> Answer:
        if not self.adopted:
            raise HangUp
        return Answer(HELLO)

    def _command(self, argv: Sequence[str], stdin: bytes) -> Completed:
        self.adopted = self.adopted or (self._adopts and "adopt" in argv)
        return Completed(0, b"{}", b"")


def test_this_machine_is_no_device_where_it_does_not_run_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(TransportError, match="'local' needs Linux, and this machine runs darwin"):
        Device.open("local", Inventory.load(tmp_path / "devices.toml"))


class TestAgent:
    def test_an_agent_that_is_there_is_started_and_nothing_else_is_sent(self) -> None:
        transport = FakeTransport(ScriptedAgent(verbs()))
        with Device(CONFIG, transport) as board:
            assert board.hello == HELLO
        assert transport.commands == [SERVE]
        assert transport.files == {}

    def test_a_board_without_this_hosts_agent_adopts_it(self) -> None:
        transport = BareBoard()
        Device(CONFIG, transport).close()
        ((part, sent),) = transport.files.items()
        assert part.startswith(f".edgepress/incoming/{SHA256}")
        assert sent == agent_archive().data
        assert transport.commands == [
            SERVE,
            ("mkdir", "-p", ".edgepress/incoming"),
            ("python3", part, "adopt", "--sha256", SHA256),
            SERVE,
        ]

    def test_home_and_python_of_the_inventory_are_used_for_every_command(self) -> None:
        config = CONFIG.model_copy(update={"home": "/mnt/my ssd", "python": "/usr/bin/python3.11"})
        transport = BareBoard()
        Device(config, transport).close()
        start = ("env", "EDGEPRESS_HOME=/mnt/my ssd", "/usr/bin/python3.11")
        assert transport.commands[0] == (*start, f"/mnt/my ssd/agents/{SHA256}.pyz", "serve")
        assert transport.commands[2][:3] == start
        assert transport.commands[2][3] in transport.files
        assert transport.commands[2][3].startswith(f"/mnt/my ssd/incoming/{SHA256}")

    @pytest.mark.parametrize(
        ("completed", "says"),
        [
            (Completed(127, b"", b"sh: 1: python3: not found"), r"pi4 has no python3.*python3: not found"),
            (Completed(1, b'{"error": "expected another"}', b""), r"cannot run on pi4.*status 1.*expected another"),
            (Completed(1, b"", b"SyntaxError: invalid\x1b[0m"), r"Python 3\.9 or newer.*SyntaxError: invalid\ufffd"),
        ],
    )
    def test_a_board_that_cannot_run_the_agent_says_why(self, completed: Completed, says: str) -> None:
        transport = BareBoard(run=lambda argv, _: completed if "adopt" in argv else Completed(0, b"", b""))
        with pytest.raises(ProvisioningError, match=says):
            Device(CONFIG, transport)
        assert transport.commands[-1] == ("rm", "-f", *transport.files)

    def test_a_board_without_room_for_the_agents_folder_says_so(self) -> None:
        transport = BareBoard(run=lambda argv, _: Completed(1, b"", b"mkdir: Read-only file system"))
        with pytest.raises(ProvisioningError, match=r"incoming cannot be made.*Read-only"):
            Device(CONFIG, transport)

    def test_an_agent_that_ends_at_once_even_when_adopted_is_a_lost_link(self) -> None:
        with pytest.raises(LinkLostError, match="is gone"):
            Device(CONFIG, BareBoard(adopts=False))


class TestFacts:
    def test_they_are_read_once_and_again_after_a_refresh(self) -> None:
        answers = iter([PI4, replace(PI4, cpu_count=2)])
        scripted = verbs()
        scripted["facts"] = lambda p, b: Answer(next(answers))
        board = Device(CONFIG, FakeTransport(ScriptedAgent(scripted)))
        assert board.facts is board.facts
        assert board.physical_id == PI4.physical_id
        board.refresh()
        assert board.facts.cpu_count == 2

    def test_the_profile_is_the_one_that_the_inventory_names(self) -> None:
        profile = device().profile
        assert profile is not None
        assert profile.name == "raspberry-pi-4b"
        assert device(config=DeviceConfig(name="x", target="x")).profile is None

    def test_the_lock_can_be_asked(self) -> None:
        held = LockState(True, "j1", "eve@there", 1)
        assert device(lock=lambda p, b: Answer(held)).lock() == held


class TestRuntime:
    BOTH = replace(PI4, runtimes=(TFLITE, LITERT))

    def test_by_default_it_is_the_newest_and_stands_first(self) -> None:
        board = device(self.BOTH)
        assert board.runtime() == LITERT
        assert board.runtimes == (LITERT, TFLITE)

    def test_the_inventorys_choice_goes_before_the_newest(self) -> None:
        board = device(self.BOTH, CONFIG.model_copy(update={"runtime": "tflite-runtime"}))
        assert board.runtime() == TFLITE
        assert board.runtimes == (TFLITE, LITERT)
        assert board.runtime("ai-edge-litert==2.1.6") == LITERT

    @pytest.mark.parametrize(
        ("facts", "wanted", "says"),
        [
            (PI4, None, r"no TFLite runtime at all; it has none.*`edgepress device provision pi4`"),
            (BOTH, "ai-edge-litert==1.4.0", r"has tflite-runtime 2\.14\.0, ai-edge-litert 2\.1\.6.*--runtime ai-edge"),
        ],
    )
    def test_one_that_is_missing_names_the_command_that_installs_it(
        self, facts: DeviceFacts, wanted: str | None, says: str
    ) -> None:
        with pytest.raises(ProvisioningError, match=says):
            device(facts).runtime(wanted)


class TestOpen:
    def test_a_name_that_is_not_in_the_inventory_is_refused_before_anything_is_reached(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownDeviceError, match="no device named 'pi9'"):
            Device.open("pi9", Inventory.load(tmp_path / "devices.toml"))

    def test_this_machine_is_a_device(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEPRESS_HOME", str(tmp_path / "home"))
        with Device.open("local", Inventory.load(tmp_path / "devices.toml")) as board:
            assert board.hello.home == str(tmp_path / "home")
            assert board.facts.cpu_count >= 1
            assert board.profile is not None
