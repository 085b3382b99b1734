"""Debian packages of another architecture, fetched with this machine's apt but none of its state.

apt resolves and downloads as if for an arm64 system on which nothing is installed, from folders of its own. It needs no
root, and nothing of this machine's packages is read or changed; its proxy settings apply.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress.emulator import programs
from edgepress.errors import EmulatorError

ARCHITECTURE = "arm64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_PLANNED = re.compile(r"^Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<architecture>\w+)\]\)", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """A downloaded package."""

    name: str
    version: str
    file: Path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


class Apt:
    """An apt of its own, in ``folder``; ``archives`` keeps downloads for the next image."""

    def __init__(self, folder: Path, archives: Path, mirror: str, suite: str) -> None:
        """Make its folders; fetch the lists of packages.

        Raises:
            EmulatorError: Debian's keys are not on this machine, or the mirror cannot be reached.
        """
        if not KEYRING.is_file():
            raise EmulatorError(
                f"{KEYRING} is missing, by which packages are checked: apt install debian-archive-keyring"
            )
        self._archives = archives
        for name in ("state/lists/partial", "cache", "parts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        settings = {
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures::": ARCHITECTURE,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # otherwise apt as root gives its rights up and cannot write here
            "Acquire::Languages": "none",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Cache::archives": archives,
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": folder / "parts",
            "Dir::Etc::preferencesparts": folder / "parts",
        }
        self._options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self._run("apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any")

    def fetch(self, names: Sequence[str]) -> list[Package]:
        """Download packages and all that they depend on."""
        self._run("apt-get", "install", "--download-only", "-qq", "-y", *names)
        planned = self._run("apt-get", "install", "--simulate", "-qq", *names)
        packages = [
            self._package(match["name"], match["version"], match["architecture"])
            for match in _PLANNED.finditer(planned)
        ]
        return sorted(packages, key=lambda package: package.name != "base-files")  # it has the links of a merged /usr

    def fetch_newest_kernel(self, metapackage: str) -> Package:
        """Download the kernel that a metapackage depends on, without the tools that would install it."""
        shown = self._run("apt-cache", "show", "--no-all-versions", metapackage)
        match = re.search(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*)", shown, re.MULTILINE)
        if match is None:
            raise EmulatorError(f"{metapackage} of Debian depends on no kernel: {shown[:300]}")
        self._run("apt-get", "download", "-qq", match[1])
        shown = self._run("apt-cache", "show", "--no-all-versions", match[1])
        return self._package(match[1], shown.split("\nVersion: ")[1].split("\n")[0], ARCHITECTURE)

    def _package(self, name: str, version: str, architecture: str) -> Package:
        return Package(name, version, self._archives / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb")

    def _run(self, program: str, *arguments: str) -> str:
        what = "fetching Debian's packages"
        return programs.run([program, *self._options, *arguments], what, cwd=self._archives)


def unpack(packages: Iterable[Package], root: Path) -> None:
    """Unpack packages into a folder. None of their scripts runs."""
    for package in packages:
        programs.run(["dpkg-deb", "--extract", str(package.file), str(root)], f"unpacking {package.name}")


def read_files(package: Package, wanted: re.Pattern[str]) -> dict[str, bytes]:
    """Return the regular files of a package whose path (without a leading ``./``) matches, by path."""
    argv = [programs.find("dpkg-deb") or "dpkg-deb", "--fsys-tarfile", str(package.file)]
    archive = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=True).stdout  # noqa: S603 - dpkg-deb, on a package whose hash apt has checked
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if member.isreg() and wanted.fullmatch(name):
                stream = tar.extractfile(member)
                assert stream is not None  # it is a regular file
                found[name] = stream.read()
    return found
