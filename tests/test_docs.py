"""The pages of docs/ and examples/ are complete and true."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from edgepress.cli.main import COMMANDS, cli
from edgepress.table.columns import CATALOGUE
from edgepress.table.result import Result

ROOT = Path(__file__).parents[1]
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text()
TABLE_PAGE = (ROOT / "docs/table.md").read_text()
UNITS = {"_ns": "ns", "_bytes": "bytes", "_sha256": "sha256", "_j": "J", "_share": "fraction"}


def all_commands() -> list[str]:
    found = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.append(name)
        if isinstance(command, click.Group):
            found += [f"{name} {sub}" for sub in command.commands]
    return found


def test_every_command_is_on_the_page_of_commands_and_no_other_is() -> None:
    assert sorted(re.findall(r"^\| `edgepress ([^`]+)` \|", COMMANDS_PAGE, re.MULTILINE)) == sorted(all_commands())


def columns_page() -> dict[str, str]:
    """Unit by field, as docs/table.md says."""
    rows = re.findall(r"^\| (`[^|]+) \|([^|]*)\|([^|]*)\|$", TABLE_PAGE, re.MULTILINE)
    return {field: unit.strip() for fields, unit, _ in rows for field in re.findall(r"`(\w+)`", fields)}


def test_every_column_of_the_table_is_explained_and_no_other_is() -> None:
    fields = {field.name for field in dataclasses.fields(Result)} - {"evidence", "source"}
    assert set(columns_page()) == fields | {"id", "key", "created_at"}


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Result) if f.name.endswith(tuple(UNITS))])
def test_every_unit_in_a_name_is_the_unit_on_the_page(name: str) -> None:
    ending = next(ending for ending in UNITS if name.endswith(ending))
    assert columns_page()[name].startswith(UNITS[ending])


def test_every_column_that_can_be_asked_for_is_named() -> None:
    (names,) = re.findall(r"`--columns` takes the names `([^`]+)`", TABLE_PAGE)
    assert names.split() == list(CATALOGUE)


def shell_commands(text: str) -> list[str]:
    return [line.split("#")[0].strip() for line in text.splitlines() if line.strip().startswith("edgepress ")]


def documented() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", TABLE_PAGE, re.DOTALL)
    return [command for block in blocks for command in shell_commands(block)]


def understand(command: str) -> None:
    words = shlex.split(command.split(">")[0])[1:]
    current: click.Command = cli
    while isinstance(current, click.Group):
        if current.invoke_without_command and (not words or words[0].startswith("-")):
            break
        found = current.get_command(click.Context(current), words.pop(0))
        assert found is not None, command
        current = found
    current.make_context("edgepress", words)


@pytest.mark.parametrize("command", documented())
def test_every_command_of_the_page_on_the_table_is_understood(command: str) -> None:
    understand(command)


def workflow() -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load((ROOT / "examples/ci.yml").read_text())
    return loaded


def test_the_workflow_is_one_and_its_commands_are_understood() -> None:
    (job,) = workflow()["jobs"].values()
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    commands = [command for script in scripts for command in shell_commands(script)]
    assert any(command.startswith("edgepress regress") for command in commands)
    for command in commands:
        understand(re.sub(r"\$\(git rev-parse HEAD\)|\$\w+", "abc1234", command))


def test_the_citation_is_one_of_this_version() -> None:
    from edgepress import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["cff-version"], citation["license"], citation["version"]) == ("1.2.0", "Apache-2.0", __version__)
    assert citation["authors"]


def test_every_link_of_the_pages_leads_to_a_file() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
