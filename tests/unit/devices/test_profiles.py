"""Device profiles: those that ship, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress.devices.profiles import Figure, load_profile, profile_names, read_profile
from edgepress.errors import InventoryError


def test_the_common_raspberry_pis_and_this_machine_ship() -> None:
    assert profile_names() == [
        "generic-arm64",
        "local",
        "qemu-virt",
        "raspberry-pi-3b-plus",
        "raspberry-pi-400",
        "raspberry-pi-4b",
        "raspberry-pi-5",
        "raspberry-pi-500",
        "raspberry-pi-cm4",
        "raspberry-pi-zero-2-w",
    ]


@pytest.mark.parametrize("name", profile_names())
def test_every_figure_of_a_shipped_profile_has_a_source(name: str) -> None:
    profile = load_profile(name)
    figures = [value for _, value in profile if isinstance(value, Figure)]
    assert all(figure.source and figure.status in ("measured", "documented") for figure in figures)
    assert figures or name in ("local", "qemu-virt")


def test_figures_have_the_units_that_their_names_say() -> None:
    pi5 = load_profile("raspberry-pi-5")
    assert pi5.cpu_max_hz is not None
    assert pi5.cpu_max_hz.value == 2_400_000_000
    assert pi5.has_dot_product is not None
    assert pi5.has_dot_product.value
    assert pi5.memory_bytes is not None
    assert 8 << 30 in pi5.memory_bytes.value


@pytest.mark.parametrize(("format", "channels"), [("float32", 8), ("float16", 8), ("int8", 16), ("dynamic", 16)])
def test_a_profile_says_how_many_channels_fill_the_kernels_of_a_format(format: str, channels: int) -> None:
    assert load_profile("raspberry-pi-5").channel_multiple(format) == channels
    assert load_profile("local").channel_multiple(format) is None


def test_a_profile_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(InventoryError, match=r"'pi6'; there are generic-arm64, local, qemu-virt, raspberry-pi-3b-plus"):
        load_profile("pi6")


GOOD = 'schema = 1\nname = "board"\ntitle = "A board"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema = 2", "has schema 2; this edgepress reads 1"),
        ("name = [", "cannot be read as TOML"),
        (GOOD + "speed = 3", r"speed: .*got 3"),
        (GOOD + "cpu_count = 4", r"cpu_count: .*got 4"),
        (GOOD + '[cpu_count]\nvalue = 4\nstatus = "guessed"\nsource = "x"', r"cpu_count\.status: .*got 'guessed'"),
        (GOOD + '[cpu_count]\nvalue = 4\nstatus = "measured"\nsource = ""', r"cpu_count\.source"),
        (GOOD + '[cpu_count]\nvalue = -4\nstatus = "measured"\nsource = "x"', r"cpu_count\.value: .*got -4"),
        (GOOD + '[cpu_count]\nvalue = "4"\nstatus = "measured"\nsource = "x"', r"cpu_count\.value"),
        (GOOD.replace("board", "bread"), "name is 'bread', but the file is called board.toml"),
    ],
)
def test_a_profile_that_is_wrong_names_file_key_and_value(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(text)
    with pytest.raises(InventoryError, match=f"board.toml.*{says}"):
        read_profile(file)
