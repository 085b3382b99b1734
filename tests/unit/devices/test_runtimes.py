"""Which runtime a board gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepress.devices.runtimes import choose_runtime, resolve_runtime, userland_architecture
from edgepress.errors import ProvisioningError
from edgepress_agent.protocol.messages import DeviceFacts, Runtime
from support.reach_agents import PI4

BOOKWORM = PI4
TRIXIE = replace(BOOKWORM, python_version="3.13.5", libc="glibc 2.41")
BULLSEYE = replace(BOOKWORM, python_version="3.9.2", libc="glibc 2.31")
BOOKWORM_32_UNDER_64 = replace(BOOKWORM, pointer_bits=32)
BOOKWORM_32 = replace(BOOKWORM, machine="armv7l", pointer_bits=32)
PC = replace(BOOKWORM, machine="x86_64")


@pytest.mark.parametrize(
    ("facts", "wanted", "name", "version"),
    [
        (BOOKWORM, None, "ai-edge-litert", "2.1.6"),
        (BOOKWORM, "ai-edge-litert", "ai-edge-litert", "2.1.6"),
        (BOOKWORM, "ai-edge-litert==1.4.0", "ai-edge-litert", "1.4.0"),
        (BOOKWORM, "tflite-runtime", "tflite-runtime", "2.14.0"),
        (TRIXIE, None, "ai-edge-litert", "2.1.6"),
        # pip would install 2.1.6 there, whose wheel promises glibc 2.27: importing it fails
        (BULLSEYE, None, "ai-edge-litert", "1.4.0"),
        (BOOKWORM_32, None, "tflite-runtime", "2.14.0"),
        (BOOKWORM_32_UNDER_64, None, "tflite-runtime", "2.14.0"),
        (PC, None, "ai-edge-litert", "2.1.6"),
        (PC, "tflite-runtime==2.14.0", "tflite-runtime", "2.14.0"),
        (replace(PC, libc="glibc 2.31"), "tflite-runtime", "tflite-runtime", "2.14.0"),
    ],
)
def test_the_newest_that_works_there_is_chosen(facts: DeviceFacts, wanted: str | None, name: str, version: str) -> None:
    spec = resolve_runtime(facts, wanted)
    assert (spec.name, spec.version) == (name, version)
    assert spec.requirements[0] == f"{name}=={version}"


def test_a_version_newer_than_all_known_is_installed_where_the_newest_known_fits() -> None:
    assert resolve_runtime(BOOKWORM, "ai-edge-litert==2.3.0").requirements[0] == "ai-edge-litert==2.3.0"
    with pytest.raises(ProvisioningError, match=r"ai-edge-litert 2\.3\.0 has wheels for Python 3\.10"):
        resolve_runtime(BULLSEYE, "ai-edge-litert==2.3.0")


def test_tflite_runtime_never_meets_numpy_2() -> None:
    assert "numpy<2" in resolve_runtime(BOOKWORM, "tflite-runtime").requirements


@pytest.mark.parametrize(
    ("facts", "wanted", "says"),
    [
        (
            TRIXIE,
            "tflite-runtime",
            r"wheels for Python 3\.8 to 3\.11, the board has 3\.13\.5.*fits: ai-edge-litert 2\.1\.6",
        ),
        (BOOKWORM_32, "ai-edge-litert", r"has no wheel for armv7l.*What fits: tflite-runtime 2\.14\.0"),
        (
            replace(BOOKWORM_32, python_version="3.13.5"),
            None,
            r"armv7l, Python 3\.13\.5.*A 64-bit",
        ),
        (replace(BOOKWORM, libc="musl 1.2"), None, r"needs glibc, the board has musl 1\.2"),
        (replace(BOOKWORM, libc=None), None, r"a C library that could not be read"),
        (replace(BULLSEYE, libc="glibc 2.28"), None, r"needs glibc 2\.29, the board has glibc 2\.28"),
        (replace(BOOKWORM, machine="armv6l", pointer_bits=32), None, r"has no wheel for armv6l"),
        (
            BOOKWORM,
            "ai-edge-litert==1.0.0",
            r"it knows ai-edge-litert 2\.1\.6, .* tflite-runtime 2\.14\.0",
        ),
        (BOOKWORM, "onnxruntime", r"onnxruntime is no runtime"),
    ],
)
def test_a_board_that_nothing_fits_is_told_why_for_each_release(
    facts: DeviceFacts, wanted: str | None, says: str
) -> None:
    with pytest.raises(ProvisioningError, match=says):
        resolve_runtime(facts, wanted)


@pytest.mark.parametrize(
    ("machine", "bits", "architecture"),
    [
        ("aarch64", 64, "aarch64"),
        ("arm64", 64, "aarch64"),
        ("aarch64", 32, "armv7l"),
        ("armv8l", 32, "armv7l"),
        ("armv7l", 32, "armv7l"),
        ("x86_64", 32, "i686"),
    ],
)
def test_wheels_are_for_the_userland_not_for_the_kernel(machine: str, bits: int, architecture: str) -> None:
    assert userland_architecture(replace(BOOKWORM, machine=machine, pointer_bits=bits)) == architecture


def installed(name: str, version: str) -> Runtime:
    return Runtime(name, version, "3.11.2", "1.26.4", "/usr/bin/python3")


THERE = (
    installed("tflite-runtime", "2.14.0"),
    installed("ai-edge-litert", "1.4.0"),
    installed("ai-edge-litert", "2.1.10"),
    installed("ai-edge-litert", "2.1.6"),
)


@pytest.mark.parametrize(
    ("wanted", "name", "version"),
    [
        (None, "ai-edge-litert", "2.1.10"),
        ("ai-edge-litert", "ai-edge-litert", "2.1.10"),
        ("ai-edge-litert==1.4.0", "ai-edge-litert", "1.4.0"),
        ("tflite-runtime", "tflite-runtime", "2.14.0"),
    ],
)
def test_of_the_installed_ones_the_newest_that_is_wanted_is_used(wanted: str | None, name: str, version: str) -> None:
    assert choose_runtime(THERE, wanted) == installed(name, version)


def test_what_is_not_installed_is_not_chosen() -> None:
    assert choose_runtime(THERE, "tflite-runtime==2.13.0") is None
    assert choose_runtime((), None) is None
