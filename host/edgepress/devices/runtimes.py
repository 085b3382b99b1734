"""Which TFLite runtime a board can have: decided from its facts, before anything is sent to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edgepress.errors import ProvisioningError
from edgepress_agent.protocol.messages import InstallSpec, Runtime


class Userland(Protocol):
    """What decides which wheels fit. The facts of a board have it; so does an image that is yet to be built."""

    @property
    def machine(self) -> str: ...
    @property
    def pointer_bits(self) -> int: ...
    @property
    def libc(self) -> str | None: ...
    @property
    def python_version(self) -> str: ...


@dataclass(frozen=True)
class _Wheels:
    """What one release was built for. The C library is what its code needs: wheel tags promise less than they take.

    ai-edge-litert 2.1.6 is tagged manylinux_2_27 and needs glibc 2.34; 1.4.0 is tagged 2_17 and needs 2.29 (read from
    the symbols of the wheels).
    """

    name: str
    version: str
    oldest_python: tuple[int, int]
    newest_python: tuple[int, int]
    glibc: dict[str, tuple[int, int]]  # by userland architecture
    numpy: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def install(self) -> InstallSpec:
        return InstallSpec(self.name, self.version, (f"{self.name}=={self.version}", self.numpy, "psutil"))

    def refusal(self, facts: Userland) -> str | None:
        """Say why this release does not fit, or None."""
        architecture = userland_architecture(facts)
        if architecture not in self.glibc:
            return f"has no wheel for {architecture}"
        python = _version(facts.python_version)[:2]
        if not self.oldest_python <= python <= self.newest_python:
            return (
                f"has wheels for Python {_dotted(self.oldest_python)} to {_dotted(self.newest_python)}, "
                f"the board has {facts.python_version}"
            )
        if not (facts.libc or "").startswith("glibc "):
            return f"needs glibc, the board has {facts.libc or 'a C library that could not be read'}"
        if _version((facts.libc or "").removeprefix("glibc ")) < self.glibc[architecture]:
            return f"needs glibc {_dotted(self.glibc[architecture])}, the board has {facts.libc}"
        return None


# In order of preference. ai-edge-litert 2.2.0 and 2.3.0 die when they cannot read the caches of the CPU, as under
# qemu-user: 2.1.6 does not. tflite-runtime 2.14.0 was built against numpy 1 and fails with numpy 2 when a model is
# loaded, not when it is imported. Wheels and architectures as PyPI has them.
_KNOWN = (
    _Wheels("ai-edge-litert", "2.1.6", (3, 10), (3, 14), {"aarch64": (2, 34), "x86_64": (2, 34)}, "numpy"),
    _Wheels("ai-edge-litert", "1.4.0", (3, 9), (3, 12), {"aarch64": (2, 29), "x86_64": (2, 29)}, "numpy"),
    _Wheels(
        "tflite-runtime",
        "2.14.0",
        (3, 8),
        (3, 11),
        {"aarch64": (2, 34), "armv7l": (2, 34), "x86_64": (2, 17)},
        "numpy<2",
    ),
)


def resolve_runtime(facts: Userland, wanted: str | None = None) -> InstallSpec:
    """Choose the runtime to install on a board.

    Args:
        facts: of the board.
        wanted: ``NAME`` or ``NAME==VERSION``, which may be newer than all known; None: the newest that is known to
            work there.

    Raises:
        ProvisioningError: nothing fits. Says for each release why.
    """
    refusals = []
    name, _, version = (wanted or "").partition("==")
    candidates = [known for known in _KNOWN if name in ("", known.name) and version in ("", known.version)]
    newest = next((known for known in _KNOWN if known.name == name), None)
    if not candidates and newest is not None and _version(version) > _version(newest.version):
        candidates = [replace(newest, version=version)]  # built like the newest known, or pip will say otherwise
    if not candidates:
        raise ProvisioningError(
            f"{wanted} is no runtime that edgepress installs; it knows {', '.join(k.label for k in _KNOWN)}"
        )
    for wheels in candidates:
        refusal = wheels.refusal(facts)
        if refusal is None:
            return wheels.install
        refusals.append(f"{wheels.label} {refusal}")
    others = [known.label for known in _KNOWN if known not in candidates and known.refusal(facts) is None]
    raise ProvisioningError(
        f"no runtime fits this board ({userland_architecture(facts)}, Python {facts.python_version}, "
        f"{facts.libc or 'unknown C library'}): {'; '.join(refusals)}."
        + (f" What fits: {', '.join(others)}" if others else " A 64-bit Raspberry Pi OS has one")
    )


def fitting_runtimes(facts: Userland) -> tuple[InstallSpec, ...]:
    """Return the newest release of every runtime that fits a board, the preferred one first."""
    newest: dict[str, InstallSpec] = {}
    for wheels in _KNOWN:
        if wheels.refusal(facts) is None:
            newest.setdefault(wheels.name, wheels.install)
    return tuple(newest.values())


def choose_runtime(runtimes: Sequence[Runtime], wanted: str | None) -> Runtime | None:
    """Return the newest of the board's runtimes that is ``wanted`` (``NAME``, ``NAME==VERSION`` or None: any).

    Without a wish ai-edge-litert comes before tflite-runtime, whose development has ended.
    """
    name, _, version = (wanted or "").partition("==")
    fitting = [r for r in runtimes if name in ("", r.name) and version in ("", r.version)]
    return max(fitting, key=lambda r: (r.name == "ai-edge-litert", _version(r.version)), default=None)


def userland_architecture(facts: Userland) -> str:
    """Return the architecture that wheels must have: a 64-bit kernel may run a 32-bit userland."""
    if facts.pointer_bits == 32:
        return {"aarch64": "armv7l", "armv8l": "armv7l", "x86_64": "i686"}.get(facts.machine, facts.machine)
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(facts.machine, facts.machine)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", text))


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
