"""Host keys: which ones the user has accepted, in OpenSSH's known_hosts format.

Parsed here line by line, because paramiko refuses a whole file for one line that it does not know (``@revoked``,
``@cert-authority``) and rewrites files without a lock. A key here is its type and its bytes: comparing needs no
cryptography.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgepress.transport.atomic_file import locked, write_atomically

DEFAULT_PORT = 22


@dataclass(frozen=True)
class HostKey:
    """A server's public key. ``blob`` is the key as SSH sends it; it begins with its own type."""

    key_type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it: ``SHA256:`` and the unpadded base64 of the hash."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class KnownHost:
    """One line of a known_hosts file that could be understood."""

    names: str
    key: HostKey
    revoked: bool

    def matches(self, name: str) -> bool:
        """Whether this line speaks about the host of that name."""
        name = name.lower()
        if self.names.startswith("|1|"):
            return _matches_hashed(self.names, name)
        matched = False
        for pattern in self.names.split(","):
            negated = pattern.startswith("!")
            if _wildcard(pattern.removeprefix("!").lower()).fullmatch(name):
                if negated:
                    return False
                matched = True
        return matched


@dataclass(frozen=True)
class KnownKeys:
    """What is known about one host."""

    accepted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]


def host_name(host: str, port: int) -> str:
    """Return the name under which known_hosts has a host: ``host``, or ``[host]:port`` for an unusual port."""
    return host.lower() if port == DEFAULT_PORT else f"[{host.lower()}]:{port}"


def parse_known_hosts(text: str) -> Iterator[KnownHost]:
    """Yield the lines of a file that name a host and a key. Lines that cannot be understood accept nothing.

    ``@cert-authority`` lines are among those: host certificates are not supported.
    """
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if marker not in ("", "@revoked") or len(fields) < 3:
            continue
        names, key_type, encoded = fields[:3]
        try:
            blob = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        # The blob repeats its type behind a length: a key under a false label could otherwise pass as another's.
        if blob.startswith(len(key_type).to_bytes(4, "big") + key_type.encode()):
            yield KnownHost(names, HostKey(key_type, blob), revoked=bool(marker))


def known_keys(files: Iterable[Path], name: str) -> KnownKeys:
    """Collect what the files say about the host of a name. Files that do not exist say nothing."""
    lines = [
        line
        for file in files
        if file.is_file()
        for line in parse_known_hosts(file.read_text(errors="replace"))
        if line.matches(name)
    ]
    revoked = tuple(line.key for line in lines if line.revoked)
    accepted = tuple(line.key for line in lines if not line.revoked and line.key not in revoked)
    return KnownKeys(accepted, revoked)


def accept_host_key(file: Path, name: str, key: HostKey) -> None:
    """Add a key to a known_hosts file: under a lock, and so that a reader sees the old or the new file whole."""
    line = f"{name} {key.key_type} {base64.b64encode(key.blob).decode()}\n"
    with locked(file):
        before = file.read_text() if file.exists() else ""
        if line in before.splitlines(keepends=True):
            return
        if before and not before.endswith("\n"):
            before += "\n"
        write_atomically(file, before + line)


def _matches_hashed(field: str, name: str) -> bool:
    try:
        _, _, salt, digest = field.split("|")
        expected = base64.b64decode(digest, validate=True)
        actual = hmac.new(base64.b64decode(salt, validate=True), name.encode(), "sha1").digest()
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(actual, expected)


def _wildcard(pattern: str) -> re.Pattern[str]:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.compile("".join(parts))
