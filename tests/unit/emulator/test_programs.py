"""Programs that are not there are named with the package that has them."""

from __future__ import annotations

import pytest

from edgepress.emulator import programs
from edgepress.errors import EmulatorError, MissingProgramError


def test_everything_that_is_missing_is_named_at_once_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find", lambda program: None)
    with pytest.raises(MissingProgramError) as refused:
        programs.require(programs.TO_RUN)
    for word in (
        "qemu-system-aarch64",
        "qemu-img",
        "apt-get install",
        "qemu-system-arm",
        "qemu-utils",
        "openssh-client",
    ):
        assert word in str(refused.value)


def test_nothing_is_said_when_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find", lambda program: f"/usr/bin/{program}")
    programs.require(programs.PACKAGES)
    assert programs.missing(programs.PACKAGES) == []


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(EmulatorError, match=r"trying it: sh ended with status 3: it hurts"):
        programs.run(["/bin/sh", "-c", "echo it hurts >&2; exit 3"], "trying it")


def test_a_program_that_does_not_end_is_given_up() -> None:
    with pytest.raises(EmulatorError, match="did not end within"):
        programs.run(["/usr/bin/tail", "-f", "/dev/null"], "waiting", timeout_s=0.2)
