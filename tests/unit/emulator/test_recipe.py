"""What names an image."""

from __future__ import annotations

import pytest

from edgepress.emulator import recipe
from edgepress.emulator.recipe import ImageRecipe
from edgepress.errors import EmulatorError


def test_bookworm_gets_both_runtimes_and_trixie_the_one_that_has_wheels_for_it() -> None:
    assert [(r.name, r.version) for r in ImageRecipe("bookworm").runtimes] == [
        ("ai-edge-litert", "2.1.6"),
        ("tflite-runtime", "2.14.0"),
    ]
    assert [r.name for r in ImageRecipe("trixie").runtimes] == ["ai-edge-litert"]


def test_lite_has_neither_runtime_nor_venv() -> None:
    lite = ImageRecipe(lite=True)
    assert lite.runtimes == ()
    assert "python3-venv" in ImageRecipe().packages
    assert "python3-venv" not in lite.packages


def test_another_content_is_another_image_and_another_mirror_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    key = ImageRecipe().key
    assert ImageRecipe().key == key
    assert ImageRecipe(mirror="http://elsewhere").key == key
    assert len({key, ImageRecipe("trixie").key, ImageRecipe(lite=True).key}) == 3
    files = {**recipe.guest_files(), "init": b"another"}
    monkeypatch.setattr(recipe, "guest_files", lambda: files)
    assert ImageRecipe().key != key


def test_an_unknown_release_is_refused() -> None:
    with pytest.raises(EmulatorError, match="no release 'sid'; there are bookworm, trixie"):
        ImageRecipe("sid")
