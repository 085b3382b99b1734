"""A board's own words in one archive: for a bug report, a test case or a new profile."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgepress.errors import InventoryError

if TYPE_CHECKING:
    from edgepress.devices.device import Device


def write_bundle(device: Device, file: Path) -> None:
    """Write a .tar.gz: ``root/`` has the files as they lie on the board, ``commands.json`` and ``facts.json`` the rest.

    Unpacked, ``root/`` can stand for the board in a test (``EDGEPRESS_SYSTEM_ROOT``).

    Raises:
        InventoryError: the file cannot be written.
    """
    captures = device.client.captures()
    documents = {
        f"root/{name}": str(text)
        for name, text in captures.files.items()
        if ".." not in PurePosixPath(name).parts and not name.startswith("/")
    }
    documents["commands.json"] = json.dumps(captures.commands, indent=2) + "\n"
    documents["facts.json"] = json.dumps(asdict(device.facts), indent=2) + "\n"
    try:
        with tarfile.open(file, "w:gz") as archive:
            for name, text in documents.items():
                content = text.encode()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
    except OSError as error:
        raise InventoryError(f"{file} cannot be written: {error.strerror}") from error
