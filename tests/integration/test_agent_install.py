"""The agent by itself, as someone would put it on a board by hand: `pip install ./agent`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgepress_agent

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty virtual environment with the agent, its dependencies and one runtime."""
    folder = tmp_path_factory.mktemp("agent")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", f"{ROOT / 'agent'}[ai-edge-litert]"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return python


def test_it_says_its_version(python: Path) -> None:
    done = subprocess.run(
        [python, "-m", "edgepress_agent", "--version"], capture_output=True, text=True, check=True, cwd=python.parent
    )
    assert edgepress_agent.__version__ in done.stdout


def test_nothing_of_the_host_is_installed_with_it(python: Path) -> None:
    done = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True, cwd=python.parent
    )
    installed = {package["name"].lower() for package in json.loads(done.stdout)}
    assert {"edgepress-agent", "numpy", "psutil", "ai-edge-litert"} <= installed
    assert not installed & {"edgepress", "tensorflow", "tensorflow-cpu", "keras", "paramiko", "click", "pydantic"}


def test_no_module_of_it_needs_more_than_the_standard_library_to_be_imported(python: Path) -> None:
    """A worker imports numpy, psutil and a runtime inside its functions; `-S` hides all that pip installed."""
    program = (
        "import importlib, pkgutil, sys, edgepress_agent\n"
        "for module in pkgutil.walk_packages(edgepress_agent.__path__, 'edgepress_agent.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'psutil', 'tensorflow', 'paramiko'}))\n"
    )
    site = ROOT / "agent"
    done = subprocess.run(
        [python, "-S", "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=python.parent,
    )
    assert done.stdout.strip() == "[]"
