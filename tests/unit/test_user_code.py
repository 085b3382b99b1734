"""What is known of the user's modules without running them."""

from pathlib import Path

import pytest

from edgepress.user_code import source_sha256


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_module_is_known_by_its_source_which_is_not_run(here: Path) -> None:
    (here / "own_module.py").write_text("1 / 0")
    first = source_sha256("own_module")
    assert source_sha256("own_module") == first

    (here / "own_module.py").write_text("1 / 1")

    assert source_sha256("own_module") != first


def test_a_package_is_known_by_all_its_files(here: Path) -> None:
    (here / "own_package").mkdir()
    (here / "own_package" / "__init__.py").write_text("1 / 0")
    (here / "own_package" / "layers.py").write_text("x = 1")
    first = source_sha256("own_package.layers")

    (here / "own_package" / "deeper").mkdir()
    (here / "own_package" / "deeper" / "more.py").write_text("x = 2")

    assert source_sha256("own_package.layers") != first


@pytest.mark.parametrize("name", ["nowhere_at_all", "__main__", "sys"])
def test_a_module_without_source_has_a_hash_too(name: str) -> None:
    assert len(source_sha256(name)) == 64
