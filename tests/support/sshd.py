"""A board for tests: a real OpenSSH server on a free port of this machine, with keys and a configuration of its own.

Nothing of the user's is read or written: the client's config names its own identity, and EDGEPRESS_HOME lies in the
test's directory. It works as root and as an ordinary user, who then can log in as themselves only.
"""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgepress.devices.inventory import DeviceConfig, Inventory

MISSING = "OpenSSH's server is not installed (apt install openssh-server)"
# A path of its own: sshd wants to be called absolutely, because it starts itself again.
SSHD = next((path for path in ("/usr/sbin/sshd", shutil.which("sshd") or "") if path and Path(path).is_file()), None)
# The board's Python is the system's where that has venv, so that its runtimes are installed apart from this checkout.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
START_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Board:
    """A running server and what a client needs to reach it; ``home`` is EDGEPRESS_HOME there."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def home(self) -> Path:
        return self.directory / "edgepress home"  # a space, so that quoting is tried everywhere

    @property
    def host_key(self) -> Path:
        return self.directory / "host_ed25519"

    @property
    def identity(self) -> Path:
        return self.directory / "identity"

    def host_fingerprint(self) -> str:
        """As ssh-keygen computes it."""
        shown = subprocess.run(
            ["ssh-keygen", "-lf", f"{self.host_key}.pub"], capture_output=True, text=True, check=True
        )
        return shown.stdout.split()[1]

    def known_hosts_line(self, port: int | None = None) -> str:
        """The line that accepts this server's key."""
        kind, key = Path(f"{self.host_key}.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{port or self.port} {kind} {key}\n"

    def write_ssh_config(self, file: Path, port: int | None = None) -> None:
        """Write a client's configuration with the aliases ``board`` and ``board-wrong-key``."""
        file.write_text(
            "Host board board-wrong-key\n"
            f"  HostName 127.0.0.1\n  Port {port or self.port}\n  User {getpass.getuser()}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {file.parent}/user_known_hosts\n  GlobalKnownHostsFile none\n"
            f"Host board\n  IdentityFile {self.identity}\n"
            f"Host board-wrong-key\n  IdentityFile {self.directory}/stranger\n"
        )

    def inventory(self, path: Path, port: int | None = None, trusted: bool = True, **more: str) -> Inventory:
        """Write a devices.toml with this board as ``board``, in a directory of its own.

        Args:
            path: of the directory.
            port: leads through a proxy.
            trusted: whether its host key counts as accepted.
            more: further values of the device, e.g. ``target``.
        """
        config = path / "ssh_config"
        self.write_ssh_config(config, port)
        values = {"target": "board", "home": str(self.home), "python": PYTHON, "ssh_config": config.name, **more}
        inventory = Inventory.load(path / "devices.toml")
        inventory.add(DeviceConfig(name="board", **values))
        if trusted:
            inventory.known_hosts.write_text(self.known_hosts_line(port))
        return inventory

    def stop(self) -> None:
        """End the server; sessions that are open end with their own connections."""
        self.process.terminate()
        self.process.wait(START_TIMEOUT_S)


def start_board(directory: Path, *more: str) -> Board:
    """Start a server and return once it greets. ``more``: further lines of its configuration."""
    assert SSHD is not None, MISSING
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("host_ed25519", "identity", "stranger"):
        make_key(directory / name)
    (directory / "authorized_keys").write_text((directory / "identity.pub").read_text())
    port = _free_port()
    config = directory / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host_ed25519\nPidFile none\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nUsePAM {_pam()}\n"
        "AuthenticationMethods publickey\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        # The lock is the board's, and this is not the machine's board. The level keeps bash from reading the ~/.bashrc
        # of whoever runs the tests, as it does where sshd has started it.
        f"SetEnv EDGEPRESS_LOCK={directory}/lock SHLVL=2\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\nSubsystem sftp internal-sftp\nLogLevel VERBOSE\n"
        + ("PerSourcePenalties no\n" if _knows("PerSourcePenalties") else "")
        + "".join(f"{line}\n" for line in more)
    )
    log = directory / "sshd.log"
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it separates its privileges
    process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)], stdin=subprocess.DEVNULL)
    board = Board(directory, port, process, log)
    _await_banner(board)
    return board


def make_key(path: Path, passphrase: str = "") -> None:
    """Make an ed25519 key pair."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", path.name, "-f", str(path)], check=True
    )


def _knows(option: str) -> bool:
    """Whether this sshd knows an option: 9.8 has PerSourcePenalties, which older ones refuse."""
    assert SSHD is not None
    tried = subprocess.run([SSHD, "-T", "-f", "/dev/null", "-o", f"{option}=no"], capture_output=True, check=False)
    return b"Bad configuration option" not in tried.stderr


def _pam() -> str:
    """Without PAM, sshd as root refuses an account whose password field begins with "!", although the key is right."""
    if getpass.getuser() != "root":
        return "no"  # an ordinary user's sshd cannot read the field, and may not use PAM
    with Path("/etc/shadow").open() as lines:
        return "yes" if any(line.startswith("root:!") for line in lines) else "no"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _await_banner(board: Board) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", board.port), timeout=START_TIMEOUT_S) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except ConnectionRefusedError:
            pass  # it does not listen yet; the kernel refuses at once, so that this loop waits for a state
        if board.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"sshd did not start: {board.log.read_text() if board.log.exists() else 'no log'}")
