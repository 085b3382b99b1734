"""``edgepress recipe``."""

from __future__ import annotations

import click

from edgepress.cli import options


@click.group(epilog="Example: edgepress recipe show prune50-int8 > mine.toml")
def recipe() -> None:
    """List and show the recipes that ship with edgepress."""


@recipe.command("list", epilog="Example: edgepress recipe list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the shipped recipes."""
    from edgepress.cli import printing
    from edgepress.compression.recipe import shipped_recipes

    recipes = shipped_recipes()
    if as_json:
        printing.print_json({"schema": 1, "recipes": [r.model_dump(mode="json") for r in recipes.values()]})
        return
    width = max(len(name) for name in recipes)
    for name, shipped in recipes.items():
        click.echo(f"{name:{width}}  {shipped.description}")


@recipe.command(epilog="Example: edgepress recipe show int8")
@click.argument("name")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Print recipe NAME (shipped, or a file) as TOML."""
    from edgepress.cli import printing
    from edgepress.compression.recipe import load_recipe, recipe_text

    loaded = load_recipe(name)
    if as_json:
        printing.print_json({"schema": 1, "recipe": loaded.model_dump(mode="json")})
    else:
        click.echo(recipe_text(name).rstrip())
