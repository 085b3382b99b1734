"""ARM boards for everyone: QEMU machines that edgepress treats as it treats a Raspberry Pi on the desk.

A machine runs real ARM code under Debian's own kernel, with a real OpenSSH server, and the same wheels that a board
gets. So it can show whether things work and whether outputs are right. It cannot show how long they take.
"""

from edgepress.emulator.faults import Faults
from edgepress.emulator.image import Image, build_image
from edgepress.emulator.machine import Machine, MachineState
from edgepress.emulator.machines import create, destroy, list_machines, open_machine
from edgepress.emulator.recipe import CPUS, SUITES, ImageRecipe

__all__ = [
    "CPUS",
    "SUITES",
    "Faults",
    "Image",
    "ImageRecipe",
    "Machine",
    "MachineState",
    "build_image",
    "create",
    "destroy",
    "list_machines",
    "open_machine",
]
