from edgepress import boards
from edgepress.boards import Terms
from edgepress.progress import Silent


def test_a_judge_says_what_the_kernels_of_its_kind_of_board_like_without_a_connection(tmp_path, monkeypatch):
    devices = (
        '[devices.pi]\ntarget = "pi.invalid"\nprofile = "raspberry-pi-5"\n[devices.other]\ntarget = "other.invalid"\n'
    )
    (tmp_path / "devices.toml").write_text(f"schema = 1\n{devices}")
    monkeypatch.setenv("EDGEPRESS_DEVICES", str(tmp_path / "devices.toml"))

    found = {}
    for name in ("pi", "other", "local"):
        with boards.judge_on(name, Terms.of("quick"), Silent()) as judge:
            found[name] = judge.channel_multiple("int8")

    assert found == {"pi": 16, "other": None, "local": None}
