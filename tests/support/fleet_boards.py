"""Many boards: ports of OpenSSH servers on this machine, each with a home and a lock of its own."""

from __future__ import annotations

import getpass
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from edgepress.devices.inventory import Inventory
from support.sshd import Board, start_board

PORTS_OF_A_SERVER = 15  # sshd listens on 16 at most, one of which is its own


@dataclass
class Fleet:
    """Boards ``b00``, ``b01``, ... in the group ``lab``.

    Attributes:
        servers: who listens, by the name of the board; one server has several.
        ports: of the boards by name; another one may be put in before the inventory is written.
        strangers: names of boards whose accepted host key is another one than theirs.
        homes: EDGEPRESS_HOME of boards that have another than their own folder.
    """

    servers: dict[str, Board]
    ports: dict[str, int]
    strangers: set[str] = field(default_factory=set)
    homes: dict[str, Path] = field(default_factory=dict)

    def home(self, name: str) -> Path:
        return self.homes.get(name, self.servers[name].directory / "homes" / name)

    def inventory(self, folder: Path) -> Inventory:
        """Write an inventory of all boards into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["schema = 1"]
        config = [f"Host *\n  HostName 127.0.0.1\n  User {getpass.getuser()}\n"]
        config.append("  IdentitiesOnly yes\n  UserKnownHostsFile none\n  GlobalKnownHostsFile none\n")
        known = []
        for name, port in self.ports.items():
            lines += [f"[devices.{name}]", f'target = "{name}"', f'home = "{self.home(name)}"']
            lines += [f'python = "{sys.executable}"', 'ssh_config = "ssh_config"']  # its Python has a runtime
            server = self.servers[name]
            config.append(f"Host {name}\n  Port {port}\n  IdentityFile {server.identity}\n")
            line = server.known_hosts_line(port)
            stranger = (server.directory / "stranger.pub").read_text().split()[1]
            known.append(f"{line.rsplit(' ', 1)[0]} {stranger}\n" if name in self.strangers else line)
        names = ", ".join(f'"{name}"' for name in self.ports)
        lines += ["[groups]", f"lab = [{names}]"]
        (folder / "devices.toml").write_text("\n".join(lines) + "\n")
        (folder / "ssh_config").write_text("".join(config))
        (folder / "known_hosts").write_text("".join(known))
        return Inventory.load(folder / "devices.toml")

    def stop(self) -> None:
        for server in {server.port: server for server in self.servers.values()}.values():
            server.stop()


def start_fleet(directory: Path, count: int) -> Fleet:
    """Start servers with so many boards."""
    with ExitStack() as held:  # all at once, so that no port is given out twice
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        ports = [each.getsockname()[1] for each in sockets]
    fleet = Fleet({}, {})
    for first in range(0, count, PORTS_OF_A_SERVER):
        own = ports[first : first + PORTS_OF_A_SERVER]
        locks = [f"Match LocalPort {port}\n  SetEnv EDGEPRESS_LOCK={directory}/lock-{port} SHLVL=2" for port in own]
        server = start_board(directory / str(first), *(f"Port {port}" for port in own), *locks)
        for number, port in enumerate(own, first):
            fleet.servers[f"b{number:02}"], fleet.ports[f"b{number:02}"] = server, port
    return fleet
