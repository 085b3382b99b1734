"""What an image is made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from edgepress.devices.runtimes import fitting_runtimes
from edgepress.errors import EmulatorError
from edgepress_agent.protocol.messages import InstallSpec

Cpu = Literal["cortex-a53", "cortex-a72", "cortex-a76"]
# The cores of a Pi 3 and Zero 2 W, of a Pi 4, and of a Pi 5 (which alone has dot products and half precision).
CPUS: tuple[Cpu, ...] = ("cortex-a53", "cortex-a72", "cortex-a76")

# FORMAT history. A change to how an image is built that its recipe does not show needs a line:
#   1  first version
FORMAT = 1

USER = "pi"
HOME = f"/home/{USER}/.edgepress"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
# Names of kernel modules in the order in which they are loaded; those that a kernel has built in are skipped.
MODULES = (
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
)

_PACKAGES = (
    "base-files",
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "iproute2",
    "libc-bin",
    "libstdc++6",
    "mawk",
    "mount",
    "openssh-server",
    "openssh-sftp-server",
    "procps",
    "python3",
    "sed",
    "tar",
    "util-linux",
)


@dataclass(frozen=True)
class Suite:
    """A release of Debian, and of Raspberry Pi OS, which has the same name and versions.

    The attributes that :class:`~edgepress.devices.runtimes.Userland` names say which wheels fit before there is a board
    to ask.
    """

    name: str
    python: tuple[int, int]
    libc: str
    machine: str = "aarch64"
    pointer_bits: int = 64

    @property
    def python_version(self) -> str:
        return f"{self.python[0]}.{self.python[1]}"


SUITES = {
    suite.name: suite for suite in (Suite("bookworm", (3, 11), "glibc 2.36"), Suite("trixie", (3, 13), "glibc 2.41"))
}


@dataclass(frozen=True)
class ImageRecipe:
    """What an image is made of.

    Attributes:
        suite: one of :data:`SUITES`.
        lite: as Raspberry Pi OS Lite comes: without python3-venv, and without any TFLite runtime.
        mirror: of Debian.
    """

    suite: str = "bookworm"
    lite: bool = False
    mirror: str = DEFAULT_MIRROR

    def __post_init__(self) -> None:
        if self.suite not in SUITES:
            raise EmulatorError(f"no release {self.suite!r}; there are {', '.join(SUITES)}")

    @property
    def userland(self) -> Suite:
        return SUITES[self.suite]

    @property
    def packages(self) -> tuple[str, ...]:
        """Of Debian; what they depend on comes with them."""
        return _PACKAGES if self.lite else (*_PACKAGES, "python3-venv")

    @property
    def kernel(self) -> str:
        """The package that depends on the newest kernel: Debian's for virtual machines, with ext4 built in."""
        return "linux-image-cloud-arm64"

    @property
    def runtimes(self) -> tuple[InstallSpec, ...]:
        """What is installed beforehand: the newest release of every runtime that fits."""
        return () if self.lite else fitting_runtimes(self.userland)

    @property
    def key(self) -> str:
        """Names the image: a hash of everything that goes into it but Debian's versions, which its manifest has."""
        content = {
            "format": FORMAT,
            "suite": self.suite,
            "packages": self.packages,
            "kernel": self.kernel,
            "modules": MODULES,
            "runtimes": [runtime.requirements for runtime in self.runtimes],
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in guest_files().items()},
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.suite}{'-lite' if self.lite else ''}-{digest[:16]}"


def guest_files() -> dict[str, bytes]:
    """Return the files of our own that go into a machine, by name."""
    return {
        entry.name: entry.read_bytes()
        for entry in (files("edgepress.emulator") / "guest").iterdir()
        if entry.is_file() and not entry.name.endswith(".py")
    }
