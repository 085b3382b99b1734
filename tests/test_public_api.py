"""The surface that users build on."""

import importlib.metadata
import subprocess
import sys

import pytest

import edgepress
from edgepress.cli.main import COMMANDS, cli


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(edgepress.__all__) == [
        "Artifact",
        "Dataset",
        "Device",
        "EdgepressError",
        "GradualPruning",
        "HealthCheck",
        "InputSpec",
        "Inventory",
        "Outcome",
        "Recipe",
        "Result",
        "ResultStore",
        "Training",
        "__version__",
        "bench",
        "compress",
        "convert",
        "deploy",
        "errors",
        "infer",
        "inspect",
        "load_recipe",
        "run",
        "shipped_recipes",
        "with_int8_ranges",
    ]


@pytest.mark.parametrize("name", [n for n in edgepress.__all__ if n != "__version__"])
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert getattr(edgepress, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = edgepress.nonsense  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_distribution() -> None:
    assert edgepress.__version__ == importlib.metadata.version("edgepress")


def test_only_one_distribution_owns_the_agent_package() -> None:
    owners = importlib.metadata.packages_distributions().get("edgepress_agent", [])
    assert len(set(owners)) <= 1, f"{owners} both own edgepress_agent: uninstalling one would break the other"


def _commands() -> list[tuple[str, ...]]:
    import click

    found: list[tuple[str, ...]] = []
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, sub) for sub in command.commands]
    return found


@pytest.mark.parametrize("path", _commands(), ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(path: tuple[str, ...]) -> None:
    import click

    command: click.Command | None = cli
    for word in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    assert command.help
    assert command.epilog
    assert command.epilog.startswith(f"Example: edgepress {' '.join(path)}")
    assert any("--json" in parameter.opts for parameter in command.params)


def test_help_answers_quickly() -> None:
    program = (
        "import time; started = time.perf_counter()\n"
        "import sys; sys.argv = ['edgepress', '--help']\n"
        "from edgepress.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(time.perf_counter() - started, file=sys.stderr)\n"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr)
        for _ in range(3)
    ]
    assert min(times) < 0.4
