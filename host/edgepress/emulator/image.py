"""Building the image that machines start from: without root, and without running any ARM code.

Debian's packages are unpacked; what their scripts would have done is written by hand (:mod:`.rootfs`); the TFLite
runtimes are put together as the agent's own installation leaves them; Python's byte code is compiled here; and mke2fs
makes a file system of the folder, under fakeroot, which makes everything root's.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from edgepress.devices.wheels import BoardPython, assemble_runtime, precompile, python_of_minor, runtime_folder
from edgepress.emulator import programs
from edgepress.emulator.cpio import Entry, folder, write_cpio
from edgepress.emulator.packages import Apt, Package, read_files, unpack
from edgepress.emulator.recipe import HOME, MODULES, USER, ImageRecipe, guest_files
from edgepress.emulator.rootfs import USER_ID, write_configuration
from edgepress.errors import EmulatorError
from edgepress.progress import Progress, Silent
from edgepress.transport.atomic_file import locked

DISK_MIB = 3072  # a sparse file: about 400 MiB of it are used
MANIFEST = "manifest.json"

_STEPS = 6
_OWN = 'chown -R "$2:$2" "$1/$3" && exec "$4" -q -t ext4 -L edgepress -m 0 -d "$1" "$5" "$6"'


@dataclass(frozen=True)
class Image:
    """A complete image in the cache. Machines only read it."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial file system without a machine's identity, which is put behind it."""
        return self.folder / "initrd.cpio"

    @property
    def disk(self) -> Path:
        """The root file system: a raw ext4 with a journal."""
        return self.folder / "root.ext4"


def default_cache() -> Path:
    """Return where images are kept."""
    return Path(platformdirs.user_cache_dir("edgepress")) / "emulator"


def build_image(recipe: ImageRecipe, cache: Path | None = None, progress: Progress | None = None) -> Image:
    """Return the image of a recipe: from the cache, or built (half a minute and 100 MB of downloads).

    Two processes that want the same image build it once.

    Raises:
        MissingProgramError: names the Debian packages that have what is missing.
        EmulatorError: a step failed; says what it said.
        ProvisioningError: the wheels of a runtime could not be fetched.
    """
    cache = cache or default_cache()
    image = Image(cache / recipe.key)
    if (image.folder / MANIFEST).is_file():
        return image
    programs.require(programs.TO_BUILD)
    python = python_of_minor(recipe.userland.python_version)
    if python is None:
        raise EmulatorError(
            f"Debian {recipe.suite} has Python {recipe.userland.python_version}, and its byte code has to be compiled "
            f"on this machine, which has no python{recipe.userland.python_version}: install one, or take another --os"
        )
    with locked(image.folder):
        if (image.folder / MANIFEST).is_file():
            return image
        with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as building:
            _Build(recipe, Path(building), cache / "archives", python, progress or Silent()).run()
            (Path(building) / "image").replace(image.folder)
    return image


class _Build:
    """One image in the making."""

    def __init__(self, recipe: ImageRecipe, work: Path, archives: Path, python: str, progress: Progress) -> None:
        self._recipe = recipe
        self._work = work
        self._archives = archives
        self._python = python
        self._progress = progress
        self._root = work / "root"
        self._image = work / "image"

    def run(self) -> None:
        """Leave the image in ``work/image``."""
        usual = os.umask(0o022)  # a private umask would hide Python's byte code from the board's user
        try:
            self._build()
        finally:
            os.umask(usual)

    def _build(self) -> None:
        self._root.mkdir()
        self._image.mkdir()
        with self._progress.task(f"building the image {self._recipe.key}", _STEPS) as task:
            task.update(0, message="fetching Debian's packages")
            with locked(self._archives):  # apt gives up at once where another image's packages are being fetched
                apt = Apt(self._work / "apt", self._archives, self._recipe.mirror, self._recipe.suite)
                packages = apt.fetch(self._recipe.packages)
                kernel = apt.fetch_newest_kernel(self._recipe.kernel)
            task.update(1, message=f"unpacking {len(packages)} packages")
            unpack(packages, self._root)
            write_configuration(self._root, guest_files())
            self._make_initrd(kernel)
            task.update(2, message="compiling Python's library")
            self._compile_system()
            board = self._board_python(packages)
            for spec in self._recipe.runtimes:
                task.update(3, message=f"{spec.name} {spec.version}")
                runtime = self._root / HOME.lstrip("/") / "runtimes" / runtime_folder(spec, board)
                assemble_runtime(spec, board, runtime, PurePosixPath(HOME))
            task.update(4, message="making the file system")
            self._make_disk()
            task.update(5, message="writing the manifest")
            self._write_manifest([*packages, kernel])

    def _board_python(self, packages: Sequence[Package]) -> BoardPython:
        userland = self._recipe.userland
        name = f"python{userland.python_version}"
        (version,) = [package.version for package in packages if package.name == name]
        upstream = re.match(r"[0-9.]+", version)
        assert upstream is not None
        return BoardPython(f"/usr/bin/{name}", upstream[0], userland.libc, userland.machine, userland.pointer_bits)

    def _compile_system(self) -> None:
        for name in (f"python{self._recipe.userland.python_version}", "python3/dist-packages"):
            library = self._root / "usr/lib" / name
            if library.is_dir():
                precompile(self._python, library, f"/usr/lib/{name}")

    def _make_initrd(self, kernel: Package) -> None:
        modules = "|".join(map(re.escape, MODULES))
        files = read_files(kernel, re.compile(rf"boot/vmlinuz-.*|(usr/)?lib/modules/.*/({modules})\.ko(\.xz)?"))
        (vmlinuz,) = [data for name, data in files.items() if name.startswith("boot/")]
        (self._image / "vmlinuz").write_bytes(vmlinuz)
        program = stat.S_IFREG | 0o755
        entries = [folder(name) for name in ("dev", "proc", "root", "modules", "identity")]
        busybox = next(file for file in (self._root / "usr/bin/busybox", self._root / "bin/busybox") if file.is_file())
        entries.append(Entry("busybox", busybox.read_bytes(), program))
        entries.append(Entry("init", guest_files()["initrd-init"], program))
        by_stem = {PurePosixPath(name).name.split(".")[0]: (name, data) for name, data in files.items()}
        for order, module in enumerate(MODULES):
            if module in by_stem:
                name, data = by_stem[module]
                data = lzma.decompress(data) if name.endswith(".xz") else data
                entries.append(Entry(f"modules/{order:02d}-{module}.ko", data))
        (self._image / "initrd.cpio").write_bytes(write_cpio(entries))

    def _make_disk(self) -> None:
        # One session of fakeroot: who owns what is known to it alone. The script is constant; its words are arguments.
        argv = ["fakeroot", "--", "sh", "-c", _OWN, "sh", str(self._root), str(USER_ID), f"home/{USER}"]
        argv += [programs.find("mke2fs") or "mke2fs", str(self._image / "root.ext4"), f"{DISK_MIB}M"]
        programs.run(argv, "making the file system")

    def _write_manifest(self, packages: Sequence[Package]) -> None:
        manifest = {
            "schema": 1,
            "suite": self._recipe.suite,
            "mirror": self._recipe.mirror,
            "lite": self._recipe.lite,
            "packages": {package.name: [package.version, package.sha256] for package in packages},
            "runtimes": self._installed(),
        }
        (self._image / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")

    def _installed(self) -> dict[str, list[str]]:
        """What pip brought for each runtime, with versions."""
        return {
            place.name: sorted(info.stem for info in place.glob("lib/*/site-packages/*.dist-info"))
            for place in (self._root / HOME.lstrip("/") / "runtimes").glob("*")
        }
