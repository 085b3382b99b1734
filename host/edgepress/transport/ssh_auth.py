"""Logging in with the user's keys: those that the configuration names and those that an ssh-agent holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from edgepress.errors import AuthenticationError
from edgepress.transport.ssh_options import SshOptions


@dataclass
class _Keys:
    """What can be offered, in order, and why the rest cannot."""

    usable: list[tuple[str, paramiko.PKey]] = field(default_factory=list)
    encrypted: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def authenticate(connection: paramiko.Transport, options: SshOptions, device: str) -> None:
    """Log in by public key.

    Raises:
        AuthenticationError: no key was accepted. Says which were offered, and which could not be and why.
    """
    agent = paramiko.Agent()
    try:
        keys = _collect(options, agent.get_keys())
        offered = []
        for label, key in keys.usable:
            offered.append(label)
            try:
                further = connection.auth_publickey(options.user, key)
            except paramiko.AuthenticationException as error:
                if not connection.is_active():  # the server has had enough attempts
                    raise _refused(options, device, offered, keys) from error
                continue
            if further:
                raise AuthenticationError(
                    f"{device} ({options}) wants {' or '.join(further)} after the key; edgepress logs in with a key "
                    "alone",
                    device,
                )
            return
        raise _refused(options, device, offered, keys)
    except paramiko.SSHException as error:
        raise AuthenticationError(f"logging in to {device} ({options}) failed: {error}", device) from error
    finally:
        agent.close()


def _collect(options: SshOptions, agent_keys: tuple[paramiko.PKey, ...]) -> _Keys:
    held = {key.asbytes(): key for key in agent_keys}
    keys = _Keys()
    for file in options.identity_files:
        public = _public_blob(file)
        if public in held:
            keys.usable.append((f"{file} (ssh-agent)", held.pop(public)))
        elif file.is_file():
            _load(file, keys)
    if not options.identities_only:
        keys.usable += [(f"{key.comment or key.get_name()} (ssh-agent)", key) for key in held.values()]
    return keys


def _load(file: Path, keys: _Keys) -> None:
    try:
        keys.usable.append((str(file), paramiko.PKey.from_path(file)))
    except (TypeError, paramiko.PasswordRequiredException):  # cryptography's way to say that a passphrase is missing
        keys.encrypted.append(file)
    except (OSError, ValueError, UnsupportedAlgorithm, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        keys.unreadable.append(f"{file} ({type(error).__name__})")  # the error's own text may quote the file


def _public_blob(file: Path) -> bytes | None:
    try:
        return bytes(paramiko.PublicBlob.from_file(f"{file}.pub").key_blob)
    except (OSError, ValueError):
        return None


def _refused(options: SshOptions, device: str, offered: list[str], keys: _Keys) -> AuthenticationError:
    parts = [
        f"{device} ({options}) accepted none of the keys offered: {', '.join(offered) or 'there was none to offer'}"
    ]
    if keys.encrypted:
        files = ", ".join(map(str, keys.encrypted))
        parts.append(
            f"{files}: protected by a passphrase, and no ssh-agent holds it; start one with `eval $(ssh-agent)` and "
            f"add the key with `ssh-add {keys.encrypted[0]}`"
        )
    if keys.unreadable:
        parts.append(f"could not be read as private keys: {', '.join(keys.unreadable)}")
    if not keys.encrypted:
        parts.append(
            f"bring your public key onto the device with `ssh-copy-id`, until `ssh {options}` asks for nothing"
        )
    return AuthenticationError(". ".join(parts), device)
