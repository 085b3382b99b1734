"""README's commands are true."""

import re
import shlex
from pathlib import Path

import click
import pytest

from edgepress.cli.main import cli

ROOT = Path(__file__).parents[1]


def readme_commands() -> list[str]:
    """Every command in README's shell blocks, comments stripped, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.split("#")[0].strip()]


def _names_a_command(words: list[str]) -> bool:
    return bool(words) and not words[0].startswith("-")


@pytest.mark.parametrize("command", [c for c in readme_commands() if c.startswith("edgepress ")])
def test_every_edgepress_command_of_the_readme_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    context = click.Context(cli)
    current: click.Command = cli
    while isinstance(current, click.Group) and not (current.invoke_without_command and not _names_a_command(words)):
        found = current.get_command(context, words.pop(0))
        assert found is not None, command
        current = found
    current.make_context("edgepress", words)


def test_the_readme_names_a_make_target_only_if_there_is_one() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [command.split()[1] for command in readme_commands() if command.startswith("make ")]
    assert named
    assert set(named) <= set(targets)


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_recipe_in_the_readme_is_a_recipe(tmp_path: Path) -> None:
    from edgepress import load_recipe

    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert load_recipe(str(file)).name == "prune50-int8"


def test_the_recipes_page_has_every_word_of_the_language() -> None:
    from edgepress.compression import recipe

    page = (ROOT / "docs/recipes.md").read_text()
    tables = (
        recipe.PruneStep,
        recipe.FactorizeStep,
        recipe.Rank,
        recipe.DistillStep,
        recipe.QuantizeStep,
        recipe.Scale,
        recipe.Input,
        recipe.Convert,
    )
    for table in tables:
        for key, field in table.model_fields.items():
            words = [w for w in getattr(field.annotation, "__args__", ()) if isinstance(w, str)]
            for word in (key, *words):
                assert re.search(rf"\b{re.escape(word)}\b", page), f"{table.__name__}.{key}: {word}"
