"""The archive that the kernel unpacks, read back by cpio itself."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edgepress.emulator.cpio import Entry, folder, write_cpio

CPIO = shutil.which("cpio")
needs_cpio = pytest.mark.skipif(CPIO is None, reason="cpio is not installed (apt install cpio)")


@needs_cpio
def test_cpio_unpacks_what_was_written_with_its_modes(tmp_path: Path) -> None:
    archive = write_cpio(
        [
            folder("a"),
            Entry("a/program", b"#!/bin/sh\n", stat.S_IFREG | 0o755),
            Entry("a/secret", b"x", stat.S_IFREG | 0o600),
        ]
    )
    subprocess.run([CPIO or "", "-id", "--quiet", "--no-absolute-filenames"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "a/program").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((tmp_path / "a/program").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a/secret").stat().st_mode) == 0o600


def test_an_archive_ends_on_a_block_so_that_another_can_follow() -> None:
    for length in range(9):
        assert len(write_cpio([Entry("name", b"x" * length)])) % 512 == 0


def test_the_same_entries_give_the_same_bytes() -> None:
    entries = [folder("a"), Entry("a/b", b"c")]
    assert write_cpio(entries) == write_cpio(entries)
