"""Roll back, deploy, collect garbage and undeploy on file systems that are really full.

    sudo unshare -m .venv/bin/python benchmarks/full_disk.py [--output benchmarks/results/full_disk.md]

Makes a tmpfs and an ext4 (in a file), deploys two releases, fills the rest by the byte, and goes on. Mounting needs
root; in a mount namespace of its own (`unshare -m`) nobody else sees it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgepress_agent import garbage
from edgepress_agent.content import ContentStore
from edgepress_agent.faults import failure_of
from edgepress_agent.home import Home
from edgepress_agent.protocol.messages import ReleaseSpec, RollbackSpec
from edgepress_agent.releases import ReleaseStore

SIZE_MIB = 16
MODEL_BYTES = 1 << 20


def mount(kind: str, folder: Path) -> None:
    if kind == "tmpfs":
        argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", str(folder)]
    else:
        image = folder.with_suffix(".img")
        with image.open("wb") as stream:
            stream.truncate(SIZE_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        argv = ["mount", "-o", "loop", str(image), str(folder)]
    subprocess.run(argv, check=True)


def deploy(home: Home, name: str) -> str:
    model = name.encode() * MODEL_BYTES
    sha256 = hashlib.sha256(model).hexdigest()
    store = ContentStore(home)
    store.upload(sha256, 0, len(model), model)
    store.commit(sha256, len(model))
    return ReleaseStore(home).activate(ReleaseSpec("digits", sha256, {"of": name})).current or ""


def fill(folder: Path) -> int:
    """Leave no block, and return how many bytes are free."""
    with (folder / "filler").open("wb", buffering=0) as stream:
        try:
            for size in (1 << 16, 1 << 12, 1):
                while True:
                    try:
                        stream.write(b"x" * size)
                    except OSError:
                        break
        finally:
            os.fsync(stream.fileno())
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def on(kind: str, folder: Path) -> str:
    """Do everything on one file system, and return its row."""
    mount(kind, folder)
    try:
        home = Home(folder / "home")
        home.root.mkdir()
        old, new = deploy(home, "A"), deploy(home, "B")
        free = fill(folder)
        store = ReleaseStore(home)
        begun = time.monotonic()
        back = store.rollback(RollbackSpec("digits", old)).current
        rollback_ms = (time.monotonic() - begun) * 1000
        assert (old, new) != (back, back)
        assert back == old
        try:
            deploy(home, "C")
            refused = "not refused"
        except Exception as error:
            refused = failure_of(error).code
        assert store.state("digits").current == old
        collected = garbage.collect(home, 0, dry_run=False)
        store.undeploy("digits")
        return (
            f"| {kind} | {free} | {rollback_ms:.0f} ms | {refused}, the old release stays | "
            f"{len(collected.releases)} release | {'gone' if not store.states() else 'still there'} |"
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgepress-full-") as scratch:
        rows = []
        for kind in ("tmpfs", "ext4"):
            folder = Path(scratch, kind)
            folder.mkdir()
            rows.append(on(kind, folder))
    text = "\n".join(
        (
            "# On a full disk",
            "",
            f"`sudo unshare -m .venv/bin/python benchmarks/full_disk.py`, Linux {platform.release()}, "
            f"{platform.machine()}; file systems of {SIZE_MIB} MiB, models of {MODEL_BYTES >> 20} MiB.",
            "",
            "| file system | bytes free | rollback | deploying another model | gc | undeploy |",
            "|---|---:|---:|---|---|---|",
            *rows,
            "",
        )
    )
    print(text)
    if options.output:
        options.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
