"""Where a target leads."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path

import pytest

from edgepress.errors import NotBuiltYetError, UnreachableError
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
    assert options.identity_files == (Path("~/.ssh/lab").expanduser(),)
    assert options.identities_only
    assert options.known_hosts == (tmp_path / "a", tmp_path / "b")
    assert str(options) == "pi@10.0.0.7:2022"


@needs_openssh
def test_what_the_target_says_goes_before_the_config(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host pi4\n  User other\n  Port 2022\n")
    options = resolve_options("pi@pi4:22", config)
    assert (options.user, options.port, str(options)) == ("pi", 22, "pi@pi4")


@needs_openssh
@pytest.mark.parametrize("line", ["ProxyJump gate", "ProxyCommand nc %h %p"])
def test_a_jump_says_that_it_is_not_built_yet(line: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host pi4\n  {line}\n")
    with pytest.raises(NotBuiltYetError, match=r"reaches pi4 by proxy(jump|command).*directly"):
        resolve_options("pi4", config)


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
