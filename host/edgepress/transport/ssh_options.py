"""How OpenSSH would reach a target: the user's own configuration, read by ``ssh -G``."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from edgepress.errors import NotBuiltYetError, UnreachableError
from edgepress.transport.known_hosts import DEFAULT_PORT

_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][^@\s:]*)@)?"
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.%-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


@dataclass(frozen=True)
class Target:
    """``[user@]host[:port]`` taken apart; an IPv6 address stands in brackets. None: not given."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class SshOptions:
    """Where and as whom to connect.

    Attributes:
        host: name or address to connect to.
        host_key_name: the name under which known_hosts has the host (HostKeyAlias, else ``host``).
        identity_files: private keys in the order to be offered; they may not exist.
        identities_only: whether the ssh-agent's other keys must not be offered.
        known_hosts: the user's and the machine's known_hosts files; they may not exist.
    """

    host: str
    port: int
    user: str
    host_key_name: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + ("" if self.port == DEFAULT_PORT else f":{self.port}")


def parse_target(target: str) -> Target:
    """Take ``[user@]host[:port]`` apart.

    Raises:
        ValueError: it has another form.
    """
    match = _TARGET.fullmatch(target)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) < 65536):
        raise ValueError(f"{target!r} is no target: expected [user@]host[:port] or a Host of your ssh config")
    return Target(match["bracketed"] or match["host"], match["user"], int(match["port"]) if match["port"] else None)


def resolve_options(target: str, ssh_config: Path | None = None) -> SshOptions:
    """Find out how to reach a target.

    OpenSSH answers where it is installed, so that aliases, ``Include``, ``Match`` and the rest mean what they mean to
    it; otherwise defaults are used. ``ssh_config`` replaces the user's configuration file.

    Raises:
        ValueError: the target has not the form ``[user@]host[:port]``.
        NotBuiltYetError: the configuration asks for ProxyJump or ProxyCommand.
        UnreachableError: the configuration has an error.
    """
    wanted = parse_target(target)
    ssh = shutil.which("ssh")
    if ssh is None:
        return SshOptions(
            host=wanted.host,
            port=wanted.port or DEFAULT_PORT,
            user=wanted.user or getpass.getuser(),
            host_key_name=wanted.host,
            identity_files=tuple(Path(name).expanduser() for name in _DEFAULT_IDENTITIES),
            identities_only=False,
            known_hosts=(Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts")),
        )
    return _options_from(target, wanted, _ask_openssh(ssh, wanted, ssh_config))


def _ask_openssh(ssh: str, target: Target, ssh_config: Path | None) -> str:
    argv = [ssh, "-G"]
    if ssh_config is not None:
        argv += ["-F", str(ssh_config)]
    if target.user is not None:
        argv += ["-l", target.user]
    if target.port is not None:
        argv += ["-p", str(target.port)]
    answer = subprocess.run([*argv, "--", target.host], capture_output=True, text=True, timeout=30, check=False)
    if answer.returncode != 0:
        raise UnreachableError(f"ssh cannot make sense of its configuration for {target.host}: {answer.stderr.strip()}")
    return answer.stdout


def _options_from(target: str, wanted: Target, answer: str) -> SshOptions:
    values: dict[str, list[str]] = defaultdict(list)
    for line in answer.splitlines():
        key, _, value = line.partition(" ")
        values[key].append(value)

    def one(key: str, default: str) -> str:
        return values[key][0] if values[key] else default

    for key in ("proxyjump", "proxycommand"):
        if one(key, "none") != "none":
            raise NotBuiltYetError(
                f"your ssh config reaches {target} by {key} ({one(key, '')}), which edgepress does not do yet; "
                "give a target that can be reached directly"
            )
    host = one("hostname", wanted.host)
    files = " ".join((one("userknownhostsfile", ""), one("globalknownhostsfile", ""))).split()
    return SshOptions(
        host=host,
        port=int(one("port", str(DEFAULT_PORT))),
        user=one("user", getpass.getuser()),
        host_key_name=one("hostkeyalias", host),
        identity_files=tuple(Path(name).expanduser() for name in values["identityfile"]),
        identities_only=one("identitiesonly", "no") == "yes",
        known_hosts=tuple(Path(name).expanduser() for name in files if name != "none"),
    )
