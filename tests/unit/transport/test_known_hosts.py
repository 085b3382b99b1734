"""Which host keys count as accepted."""

from __future__ import annotations

import base64
import hmac
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.transport.known_hosts import (
    HostKey,
    accept_host_key,
    host_name,
    known_keys,
    parse_known_hosts,
)


def key(seed: int, key_type: str = "ssh-ed25519") -> HostKey:
    name = key_type.encode()
    return HostKey(key_type, len(name).to_bytes(4, "big") + name + bytes([seed]) * 32)


def line(names: str, of: HostKey, marker: str = "") -> str:
    return f"{marker} {names} {of.key_type} {base64.b64encode(of.blob).decode()}".strip() + "\n"


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def accepted(text: str, host: str, port: int, tmp_path: Path) -> tuple[HostKey, ...]:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return known_keys([file], host_name(host, port)).accepted


@pytest.mark.parametrize(
    ("names", "host", "port", "matches"),
    [
        ("pi4", "pi4", 22, True),
        ("PI4", "pi4", 22, True),
        ("pi4", "PI4", 22, True),
        ("pi4", "pi4", 2222, False),
        ("[pi4]:2222", "pi4", 2222, True),
        ("[pi4]:2222", "pi4", 22, False),
        ("other,pi4", "pi4", 22, True),
        ("*.local", "pi4.local", 22, True),
        ("pi?", "pi4", 22, True),
        ("pi?", "pi44", 22, False),
        ("*.local,!pi4.local", "pi4.local", 22, False),
        ("!pi4.local,*.local", "pi5.local", 22, True),
        ("192.168.1.7", "192.168.1.7", 22, True),
        ("192.168.1.7", "192x168.1.7", 22, False),
        ("[::1]:2222", "::1", 2222, True),
        (hashed("pi4"), "pi4", 22, True),
        (hashed("pi4"), "pi5", 22, False),
        (hashed("[pi4]:2222"), "pi4", 2222, True),
        ("|1|not base64|either", "pi4", 22, False),
    ],
)
def test_a_line_speaks_about_the_hosts_that_openssh_says_it_does(
    names: str, host: str, port: int, matches: bool, tmp_path: Path
) -> None:
    assert accepted(line(names, key(1)), host, port, tmp_path) == ((key(1),) if matches else ())


def test_lines_that_cannot_be_understood_do_not_spoil_the_rest(tmp_path: Path) -> None:
    text = (
        "# a comment\n\n"
        "pi4\n"
        "pi4 ssh-ed25519\n"
        "pi4 ssh-ed25519 !!!not-base64\n"
        "@cert-authority * ssh-ed25519 AAAA\n"
        "@something pi4 ssh-ed25519 AAAA\n"
        "pi4 ssh-unheard-of AAAA\n"
        "\x00\x01\x02 \xff\n" + line("pi4", key(1))
    )
    assert accepted(text, "pi4", 22, tmp_path) == (key(1),)


def test_a_key_under_a_false_label_is_not_accepted(tmp_path: Path) -> None:
    mislabelled = HostKey("ssh-rsa", key(1).blob)
    assert accepted(line("pi4", mislabelled), "pi4", 22, tmp_path) == ()


def test_a_revoked_key_is_not_accepted_wherever_else_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(line("pi4", key(1)) + line("pi4", key(2)))
    (tmp_path / "b").write_text(line("*", key(1), "@revoked"))
    known = known_keys([tmp_path / "a", tmp_path / "b", tmp_path / "missing"], "pi4")
    assert known.accepted == (key(2),)
    assert known.revoked == (key(1),)


def test_fingerprints_are_those_of_openssh() -> None:
    blob = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
    # ssh-keygen -lf on GitHub's published ed25519 host key
    assert HostKey("ssh-ed25519", blob).fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


def test_accepting_twice_writes_once_and_keeps_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "new" / "known_hosts"
    accept_host_key(file, "pi4", key(1))
    file.write_text(file.read_text() + "# mine, without an end of line")
    accept_host_key(file, "pi4", key(1))
    accept_host_key(file, "[pi5]:2222", key(2))
    assert file.read_text() == (line("pi4", key(1)) + "# mine, without an end of line\n" + line("[pi5]:2222", key(2)))


def test_accepting_keeps_the_files_permissions(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.touch(mode=0o600)
    accept_host_key(file, "pi4", key(1))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "known_hosts"
    accept_host_key(file, "pi4", key(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        accept_host_key(file, "pi5", key(2))
    assert file.read_text() == line("pi4", key(1))
    assert {entry.name for entry in tmp_path.iterdir()} == {"known_hosts", ".known_hosts.lock"}


def test_many_who_accept_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: accept_host_key(file, f"pi{n}", key(n)), range(40)))
    assert all(known_keys([file], f"pi{n}").accepted == (key(n),) for n in range(40))


@given(st.text(max_size=400))
def test_any_text_is_read_without_an_error_and_accepts_nothing_by_accident(text: str) -> None:
    for known in parse_known_hosts(text):
        known.matches("pi4")


hosts = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)


@given(hosts, hosts, st.integers(1, 65535), st.integers(1, 65535), st.integers(0, 255))
def test_what_was_accepted_for_one_host_is_known_for_it_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, host: str, other: str, port: int, other_port: int, seed: int
) -> None:
    file = tmp_path_factory.mktemp("accepted") / "known_hosts"
    accept_host_key(file, host_name(host, port), key(seed))
    assert known_keys([file], host_name(host, port)).accepted == (key(seed),)
    if (other, other_port) != (host, port):
        assert known_keys([file], host_name(other, other_port)).accepted == ()
