"""Writes what emulated boards say of themselves into this folder: python tests/cases/boards/make.py

The other files here are of real boards, put together from what others have published; ``source`` says where.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.emulator import CPUS, ImageRecipe, create, destroy

HERE = Path(__file__).parent


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        inventory = Inventory.load(Path(scratch) / "devices.toml")
        for cpu in CPUS:
            machine = create(
                cpu, ImageRecipe(), cpu=cpu, memory_mib=512, home=Path(scratch) / "machines", inventory=inventory
            )
            try:
                machine.start()
                with Device.open(cpu, inventory) as device:
                    captures = device.client.captures()
            finally:
                destroy(machine, inventory)
            content = {
                "source": f"edgepress emulator, --cpu {cpu}, captured by tests/cases/boards/make.py",
                "files": captures.files,
                "commands": captures.commands,
            }
            (HERE / f"qemu-{cpu}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
