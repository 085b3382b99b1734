"""``edgepress table`` prints by itself, and has commands."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edgepress.cli.table import table


@pytest.fixture(autouse=True)
def _probe() -> object:
    @table.command("probe")
    def probe() -> None:
        click.echo("probed")

    yield
    del table.commands["probe"]


def test_without_a_command_the_table_is_printed(tmp_path: object) -> None:
    done = CliRunner().invoke(table, ["--device", "pi4", "--db", f"{tmp_path}/table.db"])
    assert (done.exit_code, done.stdout) == (0, "no rows\n")
    assert done.stderr == f"{tmp_path}/table.db has no rows yet: `edgepress run` and `bench` add some\n"


def test_a_command_of_the_group_does_not_print_the_table() -> None:
    assert CliRunner().invoke(table, ["probe"]).output == "probed\n"


def test_options_before_a_command_are_refused_where_they_would_change_nothing() -> None:
    done = CliRunner().invoke(table, ["--device", "pi4", "probe"])
    assert done.exit_code == 2
    assert "--device belongs after the command" in done.output
