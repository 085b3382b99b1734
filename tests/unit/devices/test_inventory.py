"""devices.toml: what it may say, what it says when it is wrong, and that changing it loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.devices.inventory import DeviceConfig, Inventory, default_path
from edgepress.errors import InventoryError, UnknownDeviceError

TEAM = """\
# The lab's boards. Ask Ada before you change this.
schema = 1

[devices.pi4]
target = "pi@raspberrypi.local"  # on the shelf
profile = "raspberry-pi-4b"
runtime = "ai-edge-litert==2.1.6"

[devices.zero]
target = "zero"

[groups]
pis = ["zero", "pi4"]
all = ["local", "pi4"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(TEAM)
    return path


def names(configs: list[DeviceConfig]) -> list[str]:
    return [config.name for config in configs]


class TestReading:
    def test_devices_and_groups_are_read(self, file: Path) -> None:
        inventory = Inventory.load(file)
        assert inventory.device("pi4") == DeviceConfig(
            name="pi4", target="pi@raspberrypi.local", profile="raspberry-pi-4b", runtime="ai-edge-litert==2.1.6"
        )
        assert inventory.groups == {"pis": ("zero", "pi4"), "all": ("local", "pi4")}
        assert inventory.known_hosts == file.with_name("known_hosts")

    def test_the_device_local_is_there_without_a_file(self, tmp_path: Path) -> None:
        inventory = Inventory.load(tmp_path / "devices.toml")
        assert inventory.device("local").target is None
        assert not (tmp_path / "devices.toml").exists()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("schema = 2", r"schema 2; this edgepress knows up to 1\. Upgrade it"),
            ("schema = 0", r"schema 0; expected 1\. Write `schema = 1`"),
            ("", r"schema None; expected 1"),
            ('schema = "1"', r"schema '1'; expected 1"),
            ("schema = true", r"schema True; expected 1"),
            ("schema = [", r"is no TOML"),
            ("schema = 1\ndevice = 3", r"unknown key 'device'; known are schema, devices, groups"),
            ("schema = 1\ndevices = 3", r"devices must be a table, got 3"),
            ("schema = 1\n[devices]\npi4 = 3", r"devices\.pi4 must be a table, got 3"),
            ("schema = 1\n[devices.pi4]", r"devices\.pi4 has no target"),
            ('schema = 1\n[devices.pi4]\ntarget = "-oX"', r"devices\.pi4\.target:.*got '-oX'"),
            ('schema = 1\n[devices.pi4]\ntarget = "a"\nspeed = 1', r"devices\.pi4\.speed:.*Keys are target, profile"),
            ('schema = 1\n[devices.pi4]\ntarget = "a"\nruntime = "tf"', r"devices\.pi4\.runtime:.*got 'tf'"),
            ('schema = 1\n[devices."a b"]\ntarget = "a"', r"devices\.a b\.name:.*is no name"),
            ('schema = 1\n[devices.local]\ntarget = "a"', r"the name 'local' is this machine's"),
            ('schema = 1\n[groups]\npis = ["pi9"]', r"groups\.pis names 'pi9'; the devices are local"),
            ('schema = 1\n[groups]\npis = "pi4"', r"groups\.pis must be a list"),
        ],
    )
    def test_a_mistake_is_named_with_file_key_value_and_remedy(self, text: str, says: str, tmp_path: Path) -> None:
        path = tmp_path / "devices.toml"
        path.write_text(text)
        with pytest.raises(InventoryError, match=f"devices.toml.*{says}"):
            Inventory.load(path)

    def test_bytes_that_are_no_text_are_an_inventory_error(self, tmp_path: Path) -> None:
        path = tmp_path / "devices.toml"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(InventoryError, match="cannot be read"):
            Inventory.load(path)


class TestPlace:
    def test_the_environment_comes_first_then_the_folder_then_the_user(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEPRESS_DEVICES", str(tmp_path / "named.toml"))
        monkeypatch.chdir(tmp_path)
        assert default_path() == tmp_path / "named.toml"
        monkeypatch.delenv("EDGEPRESS_DEVICES")
        assert default_path() == file
        file.unlink()
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        assert default_path().name == "devices.toml"
        assert default_path() != file


class TestResolve:
    @pytest.mark.parametrize(
        ("asked", "got"),
        [
            (["pi4"], ["pi4"]),
            (["pi4,zero"], ["pi4", "zero"]),
            (["pi4 , local"], ["pi4", "local"]),
            (["@pis"], ["zero", "pi4"]),
            (["pi4", "@pis"], ["pi4", "zero"]),
            (["@all,@pis"], ["local", "pi4", "zero"]),
            ([], []),
        ],
    )
    def test_names_commas_and_groups(self, asked: list[str], got: list[str], file: Path) -> None:
        assert names(Inventory.load(file).resolve(asked)) == got

    @pytest.mark.parametrize(
        ("asked", "says"),
        [
            ("pi5", r"no device named 'pi5'.*there are local, pi4, zero.*edgepress device add pi5"),
            ("@lab", r"no group @lab.*there are @pis, @all, @none"),
            ("pi4,", r"no device named ''"),
            ("@none", r"group @none in .*devices.toml has no devices"),
        ],
    )
    def test_what_does_not_exist_is_named_with_what_does(self, asked: str, says: str, file: Path) -> None:
        file.write_text(f"{TEAM}none = []\n")
        with pytest.raises(UnknownDeviceError, match=says):
            Inventory.load(file).resolve([asked])


class TestChanging:
    def test_adding_keeps_comments_and_everything_else(self, file: Path) -> None:
        inventory = Inventory.load(file)
        inventory.add(DeviceConfig(name="pi5", target="pi@10.0.0.5", profile="raspberry-pi-5"))
        assert "pi5" in inventory.devices
        text = file.read_text()
        assert all(line in text for line in TEAM.splitlines())
        assert Inventory.load(file).device("pi5").target == "pi@10.0.0.5"

    def test_adding_again_replaces(self, file: Path) -> None:
        Inventory.load(file).add(DeviceConfig(name="pi4", target="pi@10.0.0.4"))
        assert Inventory.load(file).device("pi4") == DeviceConfig(name="pi4", target="pi@10.0.0.4")

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (
                '[devices.pi4]  # at home\n# asked for by Ann\ntarget = "a"  # till June\nhome = "/x"\n# the end\n',
                '[devices.pi4]  # at home\n# asked for by Ann\ntarget = "b"  # till June\n# the end\n',
            ),
            ('[devices]\npi4 = {target = "a", home = "/x"}  # one\n', '[devices]\npi4 = {target = "b" }  # one\n'),
        ],
    )
    def test_adding_again_keeps_the_comments_in_its_table(self, tmp_path: Path, before: str, after: str) -> None:
        path = tmp_path / "devices.toml"
        path.write_text("schema = 1\n" + before)
        Inventory.load(path).add(DeviceConfig(name="pi4", target="b", runtime="tflite-runtime"))
        text = path.read_text()
        assert Inventory.load(path).device("pi4") == DeviceConfig(name="pi4", target="b", runtime="tflite-runtime")
        Inventory.load(path).add(DeviceConfig(name="pi4", target="b"))
        assert path.read_text() == "schema = 1\n" + after, text

    def test_removing_takes_a_device_out_of_its_groups_too(self, file: Path) -> None:
        Inventory.load(file).remove("pi4")
        inventory = Inventory.load(file)
        assert list(inventory.devices) == ["local", "zero"]
        assert inventory.groups == {"pis": ("zero",), "all": ("local",)}

    def test_two_who_change_it_at_once_keep_each_others_devices(self, file: Path) -> None:
        one, other = Inventory.load(file), Inventory.load(file)
        one.add(DeviceConfig(name="a", target="a"))
        other.add(DeviceConfig(name="b", target="b"))
        assert {"a", "b"} <= set(Inventory.load(file).devices)

    def test_this_machine_can_be_neither_moved_nor_removed(self, file: Path) -> None:
        inventory = Inventory.load(file)
        with pytest.raises(InventoryError, match="this machine"):
            inventory.add(DeviceConfig(name="local", target="elsewhere"))
        with pytest.raises(InventoryError, match="this machine"):
            inventory.remove("local")
        with pytest.raises(UnknownDeviceError):
            inventory.remove("pi9")

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        inventory = Inventory(tmp_path / "file" / "devices.toml", {}, {})
        with pytest.raises(InventoryError, match=r"cannot be (written|read)"):
            inventory.add(DeviceConfig(name="a", target="a"))


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: name != "local"),
        st.from_regex(r"([a-z]{1,8}@)?[a-z0-9][a-z0-9.-]{0,20}(:[1-9][0-9]{0,3})?", fullmatch=True),
        max_size=5,
    ),
    st.text(max_size=20),
)
def test_whatever_was_added_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, targets: dict[str, str], home: str
) -> None:
    path = tmp_path_factory.mktemp("inventory") / "devices.toml"
    wanted = {name: DeviceConfig(name=name, target=target, home=home) for name, target in targets.items()}
    for config in wanted.values():
        Inventory.load(path).add(config)
    assert {n: d for n, d in Inventory.load(path).devices.items() if n != "local"} == wanted
