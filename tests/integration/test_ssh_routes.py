"""Boards behind other machines: jump hosts and proxy commands, each checked as if it were the board."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepress.cli.main import cli
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.reach import accept, connect, fetch_host_key
from edgepress.errors import (
    AuthenticationError,
    ChangedHostKeyError,
    LinkLostError,
    UnknownHostKeyError,
    UnreachableError,
)
from edgepress.transport.ssh_options import OfferedKey
from edgepress_agent.protocol.frames import CHUNK_BYTES
from support.reach_proxy import LinkProxy
from support.sshd import Board, start_board

pytestmark = pytest.mark.ssh

Route = Callable[..., Inventory]


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory, board: Board) -> Iterator[dict[str, Board]]:
    """Two machines to go through, and one that lets nobody through."""
    del board  # skips where there is no sshd
    started = {
        "outer": start_board(tmp_path_factory.mktemp("outer")),
        "inner": start_board(tmp_path_factory.mktemp("inner")),
        "shut": start_board(tmp_path_factory.mktemp("shut"), "AllowTcpForwarding no"),
    }
    yield started
    for gate in started.values():
        gate.stop()


@pytest.fixture
def route(board: Board, gates: dict[str, Board], tmp_path: Path) -> Route:
    """Write an inventory whose ``board`` is reached by these lines of configuration, all host keys accepted."""

    def write(*lines: str, ports: dict[str, int] | None = None, jumps: dict[str, str] | None = None) -> Inventory:
        inventory = board.inventory(tmp_path)
        known = board.known_hosts_line()
        hosts = [("board", lines)]
        for name, gate in gates.items():
            port = (ports or {}).get(name, gate.port)
            known += gate.known_hosts_line(port)
            own = (
                "HostName 127.0.0.1",
                f"Port {port}",
                f"User {getpass.getuser()}",
                f"IdentityFile {gate.identity}",
                "IdentitiesOnly yes",
                f"UserKnownHostsFile {tmp_path}/user_known_hosts",
                "GlobalKnownHostsFile none",
                *([f"ProxyJump {jumps[name]}"] if jumps and name in jumps else []),
            )
            hosts.append((name, own))
        config = tmp_path / "ssh_config"
        text = "".join(f"Host {name}\n" + "".join(f"  {line}\n" for line in own) for name, own in hosts)
        config.write_text(text + config.read_text())
        inventory.known_hosts.write_text(known)
        (tmp_path / "user_known_hosts").write_text(known)  # for OpenSSH's own programs
        return inventory

    return write


def reach(inventory: Inventory) -> str:
    with connect(inventory.device("board"), inventory) as transport:
        return transport.run(["printf", "%s", "in"]).stdout.decode()


def logins(gate: Board) -> int:
    return gate.log.read_text().count("Accepted publickey")


class TestJumpHosts:
    @pytest.mark.parametrize(
        ("line", "jumps"), [("ProxyJump outer,inner", {}), ("ProxyJump inner", {"inner": "outer"})], ids=["one", "each"]
    )
    def test_a_board_behind_two_machines_is_reached_through_both(
        self, line: str, jumps: dict[str, str], route: Route, gates: dict[str, Board]
    ) -> None:
        before = logins(gates["outer"]), logins(gates["inner"])
        assert reach(route(line, jumps=jumps)) == "in"
        assert (logins(gates["outer"]), logins(gates["inner"])) == (before[0] + 1, before[1] + 1)

    def test_content_arrives_whole_through_both(self, route: Route) -> None:
        content = os.urandom(3 * CHUNK_BYTES + 5)
        with Device.open("board", route("ProxyJump outer,inner")) as device:
            device.client.push(content, hashlib.sha256(content).hexdigest())

    def test_trust_goes_from_the_first_machine_to_the_board(self, route: Route, gates: dict[str, Board]) -> None:
        inventory = route("ProxyJump outer,inner")
        inventory.path.with_name("user_known_hosts").unlink()
        inventory.known_hosts.unlink()
        shown: list[OfferedKey] = []
        with pytest.raises(UnknownHostKeyError, match=r"the jump host .* on the way to board"):
            reach(inventory)
        while not shown or not shown[-1].is_device:
            shown.append(fetch_host_key(inventory.device("board"), inventory))
            accept(inventory.device("board"), inventory, shown[-1])
        ports = [offered.shown_by.port for offered in shown]
        assert ports[:2] == [gates["outer"].port, gates["inner"].port]
        assert len(ports) == 3
        assert reach(inventory) == "in"

    def test_the_command_trusts_what_shows_one_of_the_given_fingerprints(
        self, route: Route, gates: dict[str, Board], board: Board, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inventory = route("ProxyJump outer")
        inventory.path.with_name("user_known_hosts").unlink()
        inventory.known_hosts.unlink()
        monkeypatch.setenv("EDGEPRESS_DEVICES", str(inventory.path))
        trust = ["device", "trust", "board", "--fingerprint", board.host_fingerprint()]
        refused = CliRunner().invoke(cli, trust)
        assert isinstance(refused.exception, ChangedHostKeyError)
        assert "the jump host" in str(refused.exception)
        assert not inventory.known_hosts.exists()
        trusted = CliRunner().invoke(cli, [*trust, "--fingerprint", gates["outer"].host_fingerprint()])
        assert trusted.exit_code == 0, trusted.output
        assert reach(inventory) == "in"

    @pytest.mark.parametrize("changed", ["outer", "inner"])
    def test_a_changed_key_on_the_way_is_refused(self, changed: str, route: Route, gates: dict[str, Board]) -> None:
        inventory = route("ProxyJump outer,inner")
        users = inventory.path.with_name("user_known_hosts")
        users.unlink()
        old = gates[changed].known_hosts_line()
        stranger = (gates[changed].directory / "stranger.pub").read_text().split()[1]
        inventory.known_hosts.write_text(
            inventory.known_hosts.read_text().replace(old, f"{' '.join(old.split()[:2])} {stranger}\n")
        )
        with pytest.raises(ChangedHostKeyError, match=rf"the jump host \S+:{gates[changed].port} on the way to board"):
            reach(inventory)

    def test_a_machine_on_the_way_that_knows_no_key_of_ours_is_named(
        self, route: Route, gates: dict[str, Board]
    ) -> None:
        inventory = route("ProxyJump outer")
        config = inventory.path.with_name("ssh_config")
        config.write_text(
            config.read_text().replace(str(gates["outer"].identity), f"{gates['outer'].directory}/stranger")
        )
        with pytest.raises(AuthenticationError, match=r"the jump host \S+ on the way to board accepted none"):
            reach(inventory)

    def test_a_board_that_is_off_behind_a_machine_that_is_on(self, route: Route) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(UnreachableError, match=rf"board \(\S+:{port}\) cannot be reached from the jump host"):
            reach(route("ProxyJump outer", f"Port {port}"))

    def test_a_machine_that_lets_nobody_through(self, route: Route) -> None:
        with pytest.raises(UnreachableError, match=r"from the jump host \S+: .*prohibited"):
            reach(route("ProxyJump shut"))

    def test_a_first_machine_that_stalls_ends_every_wait_by_its_deadline(
        self, route: Route, gates: dict[str, Board]
    ) -> None:
        proxy = LinkProxy(gates["outer"].port)
        inventory = route("ProxyJump outer,inner", ports={"outer": proxy.port})
        try:
            with connect(inventory.device("board"), inventory) as transport:
                proxy.stall()
                began = time.monotonic()
                with pytest.raises(LinkLostError, match="no answer in time"):
                    transport.run(["true"], timeout_s=0.5)
            assert time.monotonic() - began < 5
        finally:
            proxy.close()


class TestProxyCommands:
    def test_a_program_that_leads_to_the_board_is_run(
        self, route: Route, gates: dict[str, Board], tmp_path: Path
    ) -> None:
        before = logins(gates["outer"])
        inventory = route(f"ProxyCommand ssh -F '{tmp_path}/ssh_config' -o BatchMode=yes -W [%h]:%p outer")
        assert reach(inventory) == "in"
        assert logins(gates["outer"]) == before + 1

    def test_what_a_program_that_fails_says_is_passed_on(self, route: Route) -> None:
        inventory = route(f"""ProxyCommand {sys.executable} -c 'import sys; sys.exit("no tunnel to %h")'""")
        with pytest.raises(UnreachableError, match=r"ProxyCommand said: no tunnel to 127\.0\.0\.1"):
            reach(inventory)

    def test_a_program_that_does_not_exist_is_named(self, route: Route) -> None:
        with pytest.raises(UnreachableError, match=r"ProxyCommand no-such-tunnel .*No such file"):
            reach(route("ProxyCommand no-such-tunnel %h"))

    def test_the_program_ends_with_the_connection(self, route: Route, board: Board, tmp_path: Path) -> None:
        relay = tmp_path / "relay.py"
        relay.write_text(
            "import os, select, socket, sys\n"
            "open(sys.argv[2], 'w').write(str(os.getpid()))\n"
            "far = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
            "while True:\n"
            "    for source in select.select([0, far], [], [])[0]:\n"
            "        data = os.read(0, 65536) if source == 0 else far.recv(65536)\n"
            "        if not data: os._exit(0)\n"
            "        os.write(1, data) if source is far else far.sendall(data)\n"
        )
        assert reach(route(f"ProxyCommand {sys.executable} '{relay}' %p '{tmp_path}/pid'")) == "in"
        pid = int((tmp_path / "pid").read_text())
        with pytest.raises(ProcessLookupError):  # it was waited for
            os.kill(pid, 0)
