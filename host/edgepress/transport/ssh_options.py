"""How OpenSSH would reach a target: the user's own configuration, read by ``ssh -G``."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgepress.errors import UnreachableError
from edgepress.transport.known_hosts import DEFAULT_PORT, HostKey, host_name

CONFIG_TIMEOUT_S = 10.0  # `Match exec` runs programs of the user's

_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][^@\s:]*)@)?"
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.%-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_METHODS = {  # how to log in, in OpenSSH's order, and the option that forbids it
    "publickey": "pubkeyauthentication",
    "keyboard-interactive": "kbdinteractiveauthentication",
    "password": "passwordauthentication",  # the name of an option  # nosec B105
}


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
        host_key_name: the name under which known_hosts has the host: HostKeyAlias as it is, else that of host and port.
        identity_files: private keys in the order to be offered; they may not exist.
        identities_only: whether the ssh-agent's other keys must not be offered.
        known_hosts: the user's and the machine's known_hosts files; they may not exist.
        agent_socket: where the ssh-agent listens (IdentityAgent, else SSH_AUTH_SOCK); None: there is none.
        methods: ways to log in, in the order to be tried: "publickey", "keyboard-interactive", "password".
        may_ask: whether a person may be asked for a passphrase or password (BatchMode forbids it).
        proxy_command: argv of a program whose standard input and output lead to the host; empty: none.
        via: the jump host through which the connection goes (ProxyJump).
    """

    host: str
    port: int
    user: str
    host_key_name: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]
    agent_socket: Path | None = None
    methods: tuple[str, ...] = tuple(_METHODS)
    may_ask: bool = True
    proxy_command: tuple[str, ...] = ()
    via: SshOptions | None = None

    @property
    def route(self) -> tuple[SshOptions, ...]:
        """Every machine to log in to, in order; this one is the last."""
        return (*(self.via.route if self.via else ()), self)

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + ("" if self.port == DEFAULT_PORT else f":{self.port}")


@dataclass(frozen=True)
class OfferedKey:
    """A host key, and the machine that shows it: a device, or a jump host on the way to it."""

    shown_by: SshOptions
    key: HostKey
    is_device: bool


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
    """Find out how to reach a target, jump hosts included.

    OpenSSH answers where it is installed, so that aliases, ``Include``, ``Match`` and the rest mean what they mean to
    it; otherwise defaults are used. ``ssh_config`` replaces the user's configuration file.

    Raises:
        ValueError: the target has not the form ``[user@]host[:port]``.
        UnreachableError: the configuration has an error, or leads in a circle.
    """
    wanted = parse_target(target)
    ssh = shutil.which("ssh")
    if ssh is None:
        port = wanted.port or DEFAULT_PORT
        return SshOptions(
            host=wanted.host,
            port=port,
            user=wanted.user or getpass.getuser(),
            host_key_name=host_name(wanted.host, port),
            identity_files=tuple(Path(name).expanduser() for name in _DEFAULT_IDENTITIES),
            identities_only=False,
            known_hosts=(Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts")),
            agent_socket=_agent_socket("SSH_AUTH_SOCK", {}),
        )
    return _Configuration(ssh, ssh_config).resolve(wanted, ())


@dataclass(frozen=True)
class _Configuration:
    """The user's configuration, asked host by host."""

    ssh: str
    file: Path | None

    def resolve(self, target: Target, passed: tuple[Target, ...], via: SshOptions | None = None) -> SshOptions:
        """Resolve a target. A given ``via`` takes the place of the target's own jump hosts, as with ``ssh -J``."""
        if target in passed:
            circle = " -> ".join(each.host for each in (*passed, target))
            raise UnreachableError(
                f"your ssh config leads in a circle: {circle}. Give the jump host a "
                "`ProxyJump none` of its own, before the line that names it"
            )
        values = self._ask(target)
        options = _options_from(target, values)
        if via is not None:
            return replace(options, via=via, proxy_command=())
        # As OpenSSH does: the first jump host is reached by its own configuration, each further one through the last.
        for jump in _jump_hosts(target, values.get("proxyjump", ["none"])[0]):
            via = self.resolve(jump, (*passed, target), via)
        return replace(options, via=via)

    def _ask(self, target: Target) -> dict[str, list[str]]:
        argv = [self.ssh, "-G"]
        if self.file is not None:
            argv += ["-F", str(self.file)]
        if target.user is not None:
            argv += ["-l", target.user]
        if target.port is not None:
            argv += ["-p", str(target.port)]
        values: dict[str, list[str]] = defaultdict(list)
        for line in _output_of([*argv, "--", target.host], target).splitlines():
            key, _, value = line.partition(" ")
            values[key].append(value)
        return dict(values)


def _output_of(argv: list[str], target: Target) -> str:
    with subprocess.Popen(  # noqa: S603 - ssh -G, words of ours
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            answer, complaint = process.communicate(timeout=CONFIG_TIMEOUT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with whatever a `Match exec` has started
            if isinstance(error, subprocess.TimeoutExpired):
                raise UnreachableError(
                    f"`{shlex.join(argv)}` did not answer within {CONFIG_TIMEOUT_S:g} s. Does a `Match exec` of your "
                    "ssh config hang?"
                ) from error
            raise
    if process.returncode != 0:
        raise UnreachableError(f"ssh cannot make sense of its configuration for {target.host}: {complaint.strip()}")
    return answer


def _options_from(target: Target, values: Mapping[str, list[str]]) -> SshOptions:
    def one(key: str, default: str) -> str:
        return values[key][0] if key in values else default

    host = one("hostname", target.host)
    port = one("port", str(DEFAULT_PORT))
    user = one("user", getpass.getuser())
    tokens = {
        "%": "%",
        "d": str(Path.home()),
        "h": host,
        "i": str(os.getuid()),
        "k": one("hostkeyalias", host),
        "l": socket.gethostname(),
        "L": socket.gethostname().split(".")[0],
        "n": target.host,
        "p": port,
        "r": user,
        "u": getpass.getuser(),
    }
    files = (*_split_paths(one("userknownhostsfile", "none")), *_split_paths(one("globalknownhostsfile", "none")))
    command = one("proxycommand", "none")
    return SshOptions(
        host=host,
        port=int(port),
        user=user,
        host_key_name=one("hostkeyalias", host_name(host, int(port))),
        identity_files=tuple(_path(file, tokens) for file in values.get("identityfile", ())),
        identities_only=one("identitiesonly", "no") == "yes",
        known_hosts=tuple(_path(file, tokens) for file in files if file != "none"),
        agent_socket=_agent_socket(one("identityagent", "SSH_AUTH_SOCK"), tokens),
        methods=tuple(_methods(one("preferredauthentications", ",".join(_METHODS)), values)),
        may_ask=one("batchmode", "no") != "yes",
        proxy_command=() if command == "none" else _argv(target, command, tokens),
    )


def _jump_hosts(target: Target, value: str) -> tuple[Target, ...]:
    if value == "none":
        return ()
    try:
        return tuple(parse_target(jump.strip().removeprefix("ssh://")) for jump in value.split(","))
    except ValueError as error:
        raise UnreachableError(f"your ssh config reaches {target.host} by ProxyJump {value}: {error}") from error


def _argv(target: Target, command: str, tokens: Mapping[str, str]) -> tuple[str, ...]:
    """Split a ProxyCommand into words, and only then put names in: none of them can become syntax of a shell."""
    try:
        words = shlex.split(command.removeprefix("exec "))
    except ValueError as error:
        raise UnreachableError(
            f"your ssh config reaches {target.host} by ProxyCommand {command}, which edgepress cannot take apart "
            f"({error}); it runs without a shell, so write what needs one as: sh -c '...'"
        ) from error
    return tuple(_expanded(word, tokens) for word in words)


def _methods(preferred: str, values: Mapping[str, list[str]]) -> Iterator[str]:
    for method in preferred.split(","):
        if method in _METHODS and values.get(_METHODS[method], ["yes"])[0] != "no":
            yield method


def _agent_socket(value: str, tokens: Mapping[str, str]) -> Path | None:
    if value == "none":
        return None
    if value == "SSH_AUTH_SOCK" or value.startswith("$"):
        named = os.environ.get(value.lstrip("${").rstrip("}"))
        return Path(named) if named else None
    return _path(value, tokens)


def _split_paths(paths: str) -> list[str]:
    """Take a list of paths apart. ``ssh -G`` prints it without quotes, so that a path is known by how it begins."""
    return re.split(r" (?=[/~%$])", paths)


def _path(value: str, tokens: Mapping[str, str]) -> Path:
    return Path(re.sub(r"\$\{(\w+)\}", lambda m: os.environ.get(m[1], ""), _expanded(value, tokens))).expanduser()


def _expanded(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub("%(.)", lambda match: tokens.get(match[1], match[0]), text)
