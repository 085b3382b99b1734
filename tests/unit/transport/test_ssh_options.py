"""Where a target leads."""

from __future__ import annotations

import base64
import getpass
import os
import pwd
import shutil
from pathlib import Path

import pytest

from edgepress.errors import UnreachableError
from edgepress.transport import ssh_options
from edgepress.transport.known_hosts import known_keys
from edgepress.transport.ssh_options import Target, parse_target, resolve_options

needs_openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("pi4", Target("pi4")),
        ("pi@raspberrypi.local", Target("raspberrypi.local", "pi")),
        ("pi@10.0.0.7:2222", Target("10.0.0.7", "pi", 2222)),
        ("[fe80::1%eth0]:2222", Target("fe80::1%eth0", None, 2222)),
        ("pi@[::1]", Target("::1", "pi")),
        ("my_alias", Target("my_alias")),
    ],
)
def test_targets_have_the_form_that_ssh_knows(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=sh",
        "pi@-oX",
        "a b",
        "pi@host;reboot",
        "host:0",
        "host:65536",
        "host:ssh",
        "ssh://pi4",
        "@pi4",
    ],
)
def test_what_is_no_target_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(ValueError, match="expected \\[user@\\]host\\[:port\\]"):
        resolve_options(text)


@needs_openssh
def test_an_alias_of_the_config_is_resolved_by_openssh(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host lab-*\n  Port 2022\n  IdentityFile ~/.ssh/lab\n")
    config = tmp_path / "config"
    config.write_text(
        f"Include {tmp_path}/more\n"
        "Host lab-pi4\n  HostName 10.0.0.7\n  User pi\n  HostKeyAlias lab\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {tmp_path}/a {tmp_path}/b\n  GlobalKnownHostsFile none\n"
    )
    options = resolve_options("lab-pi4", config)
    assert (options.host, options.port, options.user, options.host_key_name) == ("10.0.0.7", 2022, "pi", "lab")
    assert resolve_options("pi@10.0.0.8:2022", config).host_key_name == "[10.0.0.8]:2022"
    assert options.identity_files == (Path("~/.ssh/lab").expanduser(),)
    assert options.identities_only
    assert options.known_hosts == (tmp_path / "a", tmp_path / "b")
    assert str(options) == "pi@10.0.0.7:2022"


@needs_openssh
def test_the_key_of_a_host_with_an_alias_is_looked_up_as_openssh_does_whatever_the_port(tmp_path: Path) -> None:
    known = tmp_path / "known"
    blob = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes(32)).decode()
    known.write_text(f"lab ssh-ed25519 {blob}\n")
    config = configured(tmp_path, f"Host pi4\n  Port 2022\n  HostKeyAlias lab\n  UserKnownHostsFile {known}\n")
    options = resolve_options("pi4", config)
    assert len(known_keys(options.known_hosts, options.host_key_name).accepted) == 1


@needs_openssh
def test_paths_with_spaces_stay_whole(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        f'Host pi4\n  UserKnownHostsFile "{tmp_path}/the lab/a" {tmp_path}/b "~/my hosts"\n'
        f'  GlobalKnownHostsFile none\n  IdentityFile "{tmp_path}/the lab/key"\n',
    )
    options = resolve_options("pi4", config)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # OpenSSH does not ask $HOME
    assert options.known_hosts == (tmp_path / "the lab/a", tmp_path / "b", home / "my hosts")
    assert options.identity_files == (tmp_path / "the lab/key",)


@needs_openssh
def test_what_the_target_says_goes_before_the_config(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host pi4\n  User other\n  Port 2022\n")
    options = resolve_options("pi@pi4:22", config)
    assert (options.user, options.port, str(options)) == ("pi", 22, "pi@pi4")


def configured(tmp_path: Path, text: str) -> Path:
    config = tmp_path / "config"
    config.write_text(text)
    return config


def hosts_on_the_way(target: str, config: Path) -> list[str]:
    return [str(hop) for hop in resolve_options(target, config).route]


@needs_openssh
@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("Host pi4\n  ProxyJump gate\n", ["u@gate", "u@pi4"]),
        ("Host pi4\n  ProxyJump ada@gate:2222,[::1]:22\n", ["ada@gate:2222", "u@::1", "u@pi4"]),
        ("Host pi4\n  ProxyJump ssh://ada@gate:2222\n", ["ada@gate:2222", "u@pi4"]),
        ("Host pi4\n  ProxyJump gate\nHost gate\n  ProxyJump outer\n", ["u@outer", "u@gate", "u@pi4"]),
        # The second of a list is reached through the first, whatever it would do by itself.
        ("Host pi4\n  ProxyJump a,gate\nHost gate\n  ProxyJump outer\n", ["u@a", "u@gate", "u@pi4"]),
        ("Host pi4\n  ProxyJump a,gate\nHost gate\n  ProxyCommand nc %h %p\n", ["u@a", "u@gate", "u@pi4"]),
        ("Host pi4\n  ProxyJump none\nHost *\n  ProxyJump gate\n", ["u@pi4"]),
        ("Host gate\n  ProxyJump none\nHost *\n  ProxyJump gate\n", ["u@gate", "u@pi4"]),
    ],
)
def test_jump_hosts_are_those_that_openssh_would_go_through(text: str, route: list[str], tmp_path: Path) -> None:
    assert hosts_on_the_way("pi4", configured(tmp_path, text + "Host *\n  User u\n")) == route


@needs_openssh
def test_a_jump_host_has_a_configuration_of_its_own(tmp_path: Path) -> None:
    text = f"Host pi4\n  ProxyJump gate\nHost gate\n  HostName 10.0.0.1\n  IdentityFile {tmp_path}/gate\n"
    options = resolve_options("pi4", configured(tmp_path, text))
    assert options.via is not None
    assert (options.via.host, options.via.identity_files) == ("10.0.0.1", (tmp_path / "gate",))
    assert tmp_path / "gate" not in options.identity_files


@needs_openssh
def test_a_configuration_that_leads_in_a_circle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"circle: pi4 -> gate -> outer -> gate.*ProxyJump none"):
        resolve_options("pi4", configured(tmp_path, "Host pi4 outer\n  ProxyJump gate\nHost gate\n  ProxyJump outer\n"))
    with pytest.raises(UnreachableError, match="loop via gate"):  # OpenSSH's own words
        resolve_options("pi4", configured(tmp_path, "Host *\n  ProxyJump gate\n"))


@needs_openssh
def test_a_jump_that_is_no_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"ProxyJump|jump"):
        resolve_options("pi4", configured(tmp_path, "Host pi4\n  ProxyJump a;b\n"))


@needs_openssh
def test_a_proxy_command_becomes_words_before_names_are_put_in(tmp_path: Path) -> None:
    config = configured(
        tmp_path, "Host pi4\n  HostName ten.example\n  ProxyCommand relay 'two words' %h:%p %% %r\n  User u\n"
    )
    assert resolve_options("pi4", config).proxy_command == ("relay", "two words", "ten.example:22", "%", "u")


@needs_openssh
def test_a_proxy_command_that_cannot_be_taken_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="runs without a shell"):
        resolve_options("pi4", configured(tmp_path, "Host pi4\n  ProxyCommand relay %h # it's\n"))


@needs_openssh
def test_names_in_paths_are_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", str(tmp_path))
    text = "Host pi4\n  HostName ten\n  User u\n  IdentityFile %d/%h-%r\n  IdentityFile ${KEYS}/%n\n"
    options = resolve_options("pi4", configured(tmp_path, text))
    assert options.identity_files == (Path.home() / "ten-u", tmp_path / "pi4")


@needs_openssh
@pytest.mark.parametrize(
    ("line", "socket"),
    [("", "/usual"), ("IdentityAgent none", None), ("IdentityAgent $OTHER", "/other"), ("IdentityAgent /a/%r", "/a/u")],
)
def test_the_agent_is_the_one_that_openssh_would_ask(
    line: str, socket: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/usual")
    monkeypatch.setenv("OTHER", "/other")
    options = resolve_options("pi4", configured(tmp_path, f"Host pi4\n  User u\n  {line}\n"))
    assert options.agent_socket == (Path(socket) if socket else None)


@needs_openssh
def test_ways_to_log_in_that_are_forbidden_or_unknown_are_left_out(tmp_path: Path) -> None:
    preferred = "PreferredAuthentications password,gssapi-with-mic,publickey"
    config = configured(tmp_path, f"Host pi4\n  {preferred}\nHost pi5\n  PasswordAuthentication no\n")
    assert resolve_options("pi4", config).methods == ("password", "publickey")
    assert resolve_options("pi5", config).methods == ("publickey", "keyboard-interactive")
    assert resolve_options("pi6", config).may_ask


@needs_openssh
def test_a_configuration_that_hangs_is_given_up_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_options, "CONFIG_TIMEOUT_S", 1.0)
    pid = tmp_path / "pid"
    config = configured(tmp_path, f'Match exec "echo $$ > {pid}; exec sleep 600"\n  User u\n')
    with pytest.raises(UnreachableError, match=r"ssh -G .*did not answer within 1 s.*Match exec"):
        resolve_options("pi4", config)
    assert not is_running(int(pid.read_text()))


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False


@needs_openssh
def test_a_broken_config_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host pi4\n  NoSuchOption yes\n")
    with pytest.raises(UnreachableError, match=r"(?i)nosuchoption"):
        resolve_options("pi4", config)


def test_without_openssh_the_usual_defaults_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    options = resolve_options("pi4:2222")
    assert (options.host, options.port, options.user) == ("pi4", 2222, getpass.getuser())
    assert Path("~/.ssh/id_ed25519").expanduser() in options.identity_files
    assert Path("~/.ssh/known_hosts").expanduser() in options.known_hosts
