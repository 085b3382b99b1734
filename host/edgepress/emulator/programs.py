"""The programs that emulation needs beside Python, each with the Debian package that has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgepress.errors import EmulatorError, MissingProgramError

PACKAGES = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
    "fakeroot": "fakeroot",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
TO_BUILD = ("apt-get", "apt-cache", "dpkg-deb", "fakeroot", "mke2fs")
TO_RUN = ("qemu-system-aarch64", "qemu-img", "ssh", "ssh-keygen")

_ERROR_CHARACTERS = 2000


def find(program: str) -> str | None:
    """Return a program's path. An ordinary user's PATH lacks the folders where mke2fs is."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def missing(programs: Iterable[str]) -> list[str]:
    """Return the Debian packages of those that are not there, each once, sorted."""
    return sorted({PACKAGES[program] for program in programs if find(program) is None})


def require(programs: Iterable[str]) -> None:
    """Check that programs are there, all of them before any is needed.

    Raises:
        MissingProgramError: names what is missing, and the command that installs it on Debian.
    """
    programs = tuple(programs)
    packages = missing(programs)
    if packages:
        absent = ", ".join(program for program in programs if find(program) is None)
        raise MissingProgramError(
            f"emulating a board needs {absent}, which this machine lacks. Debian and Ubuntu have it in: "
            f"sudo apt-get install --no-install-recommends {' '.join(packages)}"
        )


def run(
    argv: Sequence[str], what: str, *, cwd: Path | None = None, pass_fds: Sequence[int] = (), timeout_s: float = 600.0
) -> str:
    """Run a program of :data:`PACKAGES`, or one given by its path, and return what it printed.

    Raises:
        EmulatorError: it failed or took too long; has the end of what it said.
    """
    program = find(argv[0]) or argv[0]
    try:
        done = subprocess.run(  # noqa: S603 - a program of the list above, no shell
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd,
            pass_fds=pass_fds,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EmulatorError(f"{what}: {Path(program).name} did not end within {timeout_s:g} s") from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()[-_ERROR_CHARACTERS:]
        raise EmulatorError(f"{what}: {Path(program).name} ended with status {done.returncode}: {said}")
    return done.stdout
