"""A board's /proc, /sys and programs in a folder, as a Raspberry Pi has them."""

from __future__ import annotations

from pathlib import Path


def make_board(root: Path, **changes: str | None) -> Path:
    """Write the files of a calm Raspberry Pi 4; ``changes`` are paths with ``__`` for ``/``, None: there is none."""
    files: dict[str, str | None] = {
        "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
        "proc/cpuinfo": "CPU part\t: 0xd08\nFeatures\t: fp asimd evtstrm crc32 cpuid\nSerial\t\t: 100000003d1d1c36\n",
        "proc/loadavg": "0.05 0.10 0.12 1/200 4242\n",
        "proc/meminfo": "MemTotal:        3884380 kB\nMemAvailable:    3200000 kB\n",
        "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n",
        "proc/stat": "cpu0 1 0 1 9 0 0 0 0 0 0\ncpu1 1 0 1 9 0 0 0 0 0 0\n",
        "proc/vmstat": "pswpin 0\npswpout 0\n",
        "proc/sys/kernel/random/boot_id": "5f6c\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    }
    for cpu in (0, 1):
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        files[f"{folder}/scaling_cur_freq"] = "1800000\n"
        files[f"{folder}/scaling_governor"] = "ondemand\n"
    files.update({name.replace("__", "/"): text for name, text in changes.items()})
    for name, text in files.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def board_on_for(root: Path, days: float) -> Path:
    """Write the only file of a board that says how long it has been on."""
    (root / "proc").mkdir(parents=True)
    (root / "proc/uptime").write_text(f"{days * 86_400:.2f} 0.00\n")
    return root


def add_vcgencmd(root: Path, **answers: str) -> None:
    """Give a board a vcgencmd that knows these commands."""
    program = root / "usr/bin/vcgencmd"
    program.parent.mkdir(parents=True, exist_ok=True)
    cases = "".join(f"{name}) printf '%s\\n' \"{text}\";;\n" for name, text in answers.items())
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) exit 1;;\nesac\n')
    program.chmod(0o755)
