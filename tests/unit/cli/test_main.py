"""How a command ends: exit code, one message, one JSON document."""

import json
import sys

import click
import pytest
from click.testing import CliRunner

from edgepress.cli import main as module
from edgepress.errors import RecipeError


@pytest.fixture
def ends(monkeypatch, capsys):
    """Run a command line to its end: exit code, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgepress", *words])
        with pytest.raises(SystemExit) as end:
            module.main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def failing(monkeypatch):
    """A command that fails with an error of the test's choice."""

    def fail_with(error):
        @click.command(context_settings={"ignore_unknown_options": True})
        @click.argument("words", nargs=-1)
        def fail(words):
            raise error

        monkeypatch.setattr(module, "cli", fail)

    return fail_with


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RecipeError("no such recipe"), 1, "no such recipe"),
        (OSError(28, "No space left on device", "/x"), 1, "No space left on device: /x"),
        (click.UsageError("no such option"), 2, "no such option"),
    ],
)
def test_an_error_is_a_message_and_with_json_a_document_too(ends, failing, error, code, message):
    failing(error)

    assert ends("x")[:2] == (code, "")
    ended, stdout, stderr = ends("x", "--json")
    assert (ended, json.loads(stdout)["error"]) == (code, {"type": type(error).__name__, "message": message})
    assert message in stderr


def test_an_interruption_is_130(ends, failing):
    failing(KeyboardInterrupt())

    code, stdout, stderr = ends("x")

    assert (code, stdout, stderr.strip()) == (130, "", "interrupted")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=lambda error: type(error).__name__)
def test_with_json_an_interruption_and_a_question_that_is_declined_are_documents(ends, failing, error):
    failing(error)

    code, stdout, stderr = ends("x", "--json")

    assert (code, json.loads(stdout)["error"]) == (130, {"type": "Abort", "message": "interrupted"})
    assert stderr.strip() == "interrupted"


def test_an_interrupt_says_what_could_not_be_cleared_away(ends, failing):
    interrupt = KeyboardInterrupt()
    interrupt.add_note("job j1 on pi4 could not be cancelled: the link is gone")
    failing(interrupt)
    code, out, err = ends("run")
    assert (code, out) == (130, "")
    assert err.split("\n")[-3:] == ["interrupted", "  job j1 on pi4 could not be cancelled: the link is gone", ""]


@pytest.mark.parametrize(
    ("words", "takes"),
    [("run", True), ("compress", True), ("bench", True), ("convert", False), ("quantize debug", False)],
)
def test_help_names_a_folder_of_pictures_where_one_can_be_handed_in(words, takes):
    help_text = CliRunner().invoke(module.cli, [*words.split(), "--help"]).stdout
    assert ("FOLDER" in help_text, "pictures in a folder" in " ".join(help_text.split())) == (takes, takes)
